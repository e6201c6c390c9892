package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretIsNeverShown(t *testing.T) {
	secret := NewSecret("s3cr3t")
	hidden := struct{ inner Secret }{secret} // fmt cannot call the methods of an unexported field
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "plain", secret, "struct", struct{ S Secret }{secret}, "hidden", hidden)

	shown := []string{log.String(), secret.String(), secret.GoString(), secret.LogValue().String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s", "%T", "%p"} {
		for _, value := range []any{secret, &secret, []Secret{secret}, hidden, &hidden, map[Secret]int{secret: 1}} {
			shown = append(shown, fmt.Sprintf(verb, value))
		}
	}
	encoded, err := json.Marshal(map[string]any{"a": secret, "b": map[Secret]int{secret: 1}, "c": hidden})
	if err != nil {
		t.Fatal(err)
	}
	shown = append(shown, string(encoded))
	for _, s := range shown {
		if strings.Contains(s, "s3cr3t") || strings.Contains(s, fmt.Sprintf("%x", "s3cr3t")) {
			t.Errorf("shown: %s", s)
		}
	}
	if secret.Reveal() != "s3cr3t" {
		t.Errorf("Reveal = %q", secret.Reveal())
	}
}

func TestSecretForms(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(fmt.Sprint(NewSecret("x")), "[redacted]")
	f(fmt.Sprintf("%q", NewSecret("x")), `"[redacted]"`)
	f(fmt.Sprintf("%#v", NewSecret("x")), `config.Secret("[redacted]")`)
	f(fmt.Sprint(Secret{}), "")
	f(fmt.Sprintf("%q", Secret{}), `""`)
	f(Secret{}.Reveal(), "")
}

func TestSecretsCompareByText(t *testing.T) {
	if NewSecret("a") != NewSecret(strings.Clone("a")) || NewSecret("a") == NewSecret("b") {
		t.Error("== does not follow the text")
	}
	if NewSecret("") != (Secret{}) || !NewSecret("").Empty() || NewSecret("a").Empty() {
		t.Error("the empty secret is not the zero value")
	}
}
