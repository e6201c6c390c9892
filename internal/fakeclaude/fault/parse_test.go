package fault

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseRule(t *testing.T) {
	yes := true
	f := func(text string, want Rule) {
		t.Helper()
		got, err := ParseRule(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", text, diff)
		}
	}
	f("status=529,p=0.2", Rule{Fault: Fault{Kind: Status, Status: 529}, Probability: 0.2})
	f("stall=message_start,p=0.05", Rule{Fault: Fault{Kind: Stall, At: AtMessageStart}, Probability: 0.05})
	f("stall, delay=5s", Rule{Fault: Fault{Kind: Stall, Delay: Duration(5 * time.Second)}})
	f("error=api_error,at=mid_text,message=\"so, there\"", Rule{Fault: Fault{Kind: Error, Type: "api_error", At: AtMidText, Message: "so, there"}})
	f("status=429,retry-after=5,header.x-should-retry=true,bare,code=x", Rule{Fault: Fault{
		Kind: Status, Status: 429, Code: "x", Bare: true, Headers: map[string]string{"retry-after": "5", "x-should-retry": "true"}}})
	f("status=400,type=billing_error,body=\"{}\"", Rule{Fault: Fault{Kind: Status, Status: 400, Type: "billing_error", Body: "{}"}})
	f("reset=event:7,count=2,stream=true", Rule{Fault: Fault{Kind: Reset, At: EventPoint(7)}, Count: 2, Stream: &yes})
	f("slow=10s,from=1m,until=2m,model=claude-opus-*,path=/v1/messages", Rule{Fault: Fault{Kind: Slow, Delay: Duration(10 * time.Second)},
		From: Duration(time.Minute), Until: Duration(2 * time.Minute), Model: "claude-opus-*", Path: "/v1/messages"})
	f("trickle=20ms,bytes=3", Rule{Fault: Fault{Kind: Trickle, Delay: Duration(20 * time.Millisecond), Bytes: 3}})
	f("html", Rule{Fault: Fault{Kind: HTML}})
	f("html=403", Rule{Fault: Fault{Kind: HTML, Status: 403}})
	f("gzip", Rule{Fault: Fault{Kind: Gzip}})
	f("gzip,coding=br", Rule{Fault: Fault{Kind: Gzip, Coding: "br"}})
	f("empty", Rule{Fault: Fault{Kind: Empty}})
	f("end", Rule{Fault: Fault{Kind: End}})
	f("malformed=first_block", Rule{Fault: Fault{Kind: Malformed, At: AtFirstBlock}})
}

func TestParseRuleErrors(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := ParseRule(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", text, err, want)
		}
	}
	f("", "a part without a name")
	f("explode", `unknown kind "explode"`)
	f("status", "status is missing")
	f("status=99", "outside 200 to 599")
	f("status=abc", `status is "abc"`)
	f("status=529,", "a part without a name")
	f("status=529,p=2", "p is")
	f("status=529,p=NaN", "p is")
	f("status=529,p=0.1,p=0.2", "p is given twice")
	f("status=529,at=mid_text", "at has no meaning here")
	f("status=529,colour=red", `unknown key "colour"`)
	f("status=529,count", "count needs a value")
	f("status=529,count=-1", "count is")
	f("status=529,stream=maybe", "stream is")
	f("status=529,from=2s,until=1s", "is empty")
	f("status=529,model=[", "pattern")
	f("status=529,message=\"unfinished", "unfinished quotes")
	f("status=529,message=\"a\"b", "text after the quotes")
	f("status=529,header.bad name=x", "header")
	f("stall=nowhere", `unknown point "nowhere"`)
	f("stall=event:-1", "unknown point")
	f("stall,bytes=3", "bytes has no meaning here")
	f("slow", "delay is missing")
	f("slow=fast", "slow is")
	f("trickle", "delay is missing")
	f("gzip,delay=1s", "delay has no meaning here")
	f("gzip=9", "takes no value")
	f("gzip,coding=lzw", `unknown coding "lzw" (known: gzip, deflate, br, zstd)`)
	f("html,coding=br", "coding has no meaning here")
	f("status=500,message=\xff", "not UTF-8")
	f("html,bare=1", "bare takes no value")
}

func TestParseTakesNoConditions(t *testing.T) {
	if _, err := Parse("status=529,p=0.5"); err == nil {
		t.Error("Parse accepts a probability")
	}
	if f, err := Parse("  "); err != nil || f.Kind != None {
		t.Errorf("empty: %+v, %v", f, err)
	}
}

func TestDocumentedFaultsParse(t *testing.T) {
	page, err := os.ReadFile("../../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile(`-(fault|script) '([^']*)'`).FindAllStringSubmatch(string(page), -1)
	if len(examples) < 8 {
		t.Errorf("only %d examples found", len(examples))
	}
	for _, e := range examples {
		if _, err := ParseRule(e[2]); err != nil && e[2] != "" {
			t.Errorf("%s: %v", e[0], err)
		}
	}
	for _, kind := range Kinds() {
		if mark := "`" + string(kind); !strings.Contains(string(page), mark) || !strings.Contains(Syntax, "\n  "+string(kind)) {
			t.Errorf("%s is not documented", kind)
		}
	}
	for _, point := range Points() {
		if !strings.Contains(string(page), "`"+string(point)+"`") || !strings.Contains(Syntax, string(point)) {
			t.Errorf("%s is not documented", point)
		}
	}
}

// FuzzParseRule checks that accepted rules are valid and that their JSON gives the same rule.
func FuzzParseRule(f *testing.F) {
	f.Add("status=529,p=0.2")
	f.Add("stall=message_start,p=0.05,delay=3s")
	f.Add(`error=api_error,at=event:3,message="a, \"b\"",count=2,stream=false`)
	f.Add("status=429,retry-after=5,header.x-should-retry=true,bare")
	f.Add("trickle=20ms,bytes=3,from=1s,until=2s,model=claude-*,path=/v1/*")
	f.Fuzz(func(t *testing.T, text string) {
		rule, err := ParseRule(text)
		if err != nil {
			return
		}
		if err := rule.Validate(); err != nil {
			t.Fatalf("ParseRule accepts %q, but it is not valid: %v", text, err)
		}
		encoded, err := json.Marshal(rule)
		if err != nil {
			t.Fatal(err)
		}
		var again Rule
		if err := json.Unmarshal(encoded, &again); err != nil {
			t.Fatalf("%s does not read back: %v", encoded, err)
		}
		second, err := json.Marshal(again)
		if err != nil || string(second) != string(encoded) {
			t.Fatalf("%s reads back as %s (%v)", encoded, second, err)
		}
	})
}
