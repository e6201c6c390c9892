package config

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/tailscale/hujson"
)

const (
	// IdentityVariable names the identity file where the configuration does not.
	IdentityVariable = "CLAUDE_CODE_LB_AGE_IDENTITY"
	// identityMark is in every line that is an identity itself, in either of its kinds.
	identityMark = "AGE-SECRET-KEY-"
)

// identityFile is the file with the identities that decrypt what is sealed. It
// is read when the first sealed secret asks for it.
type identityFile struct {
	path  string
	label string // the file in messages: never what came out of a variable

	opened     bool
	identities []age.Identity
	problem    string
	irregular  bool // what could block whoever reads it
}

// ReadIdentities reads a file of age identities, the first of which is the one
// to encrypt for. It returns at least one. Errors never quote the file nor name it.
func ReadIdentities(path string) ([]age.Identity, error) {
	b, err := readRegular(path)
	if err != nil {
		return nil, err
	}
	if text := bytes.TrimSpace(b); bytes.HasPrefix(text, []byte(ageMagic)) || bytes.HasPrefix(text, []byte(armor.Header)) {
		return nil, errors.New("it is encrypted itself, and nobody can type its passphrase here")
	}
	identities, err := age.ParseIdentities(bytes.NewReader(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))))
	if err != nil { // which may quote the line
		return nil, errors.New(`it does not hold an age identity, a line that begins with AGE-SECRET-KEY-, as "claude-code-lb secret new-identity" writes it`)
	}
	return identities, nil
}

// open reads the file, once, and says what is wrong with it.
func (f *identityFile) open() ([]age.Identity, string) {
	if f.opened {
		return f.identities, f.problem
	}
	f.opened = true
	var err error
	f.identities, err = ReadIdentities(f.path)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		f.problem = f.label + ` does not exist: put the identity there that it is encrypted for, or name its file in "age_identity"`
	default:
		f.irregular = errors.Is(err, errIrregular)
		f.problem = f.label + " cannot be used: " + err.Error()
	}
	return f.identities, f.problem
}

// vault is the identity file of this configuration. It is called no earlier
// than age_identity is decoded.
func (d *decoder) vault() *identityFile {
	if d.identity == nil {
		d.identity = d.locateIdentity()
	}
	return d.identity
}

// locateIdentity says where the identity file is: where the configuration says,
// else the environment, else beside the configuration and named after it.
func (d *decoder) locateIdentity() *identityFile {
	const name = "age_identity"
	n := d.nodes[name]
	path, label := d.cfg.AgeIdentity, "the file that age_identity names"
	variable, _ := d.env(IdentityVariable)
	switch {
	case path != "":
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(d.src.file), path)
		}
		if n.shown != "" {
			label = n.label()
		}
	case variable != "":
		path, label = variable, "the file that "+IdentityVariable+" names"
	default:
		path = strings.TrimSuffix(d.src.file, filepath.Ext(d.src.file)) + ".agekey"
		label = path
	}
	if !strings.Contains(strings.ToUpper(path), identityMark) {
		return &identityFile{path: path, label: label}
	}
	// As a path it would get into messages and into the log.
	const instead = "an identity itself stands where the name of its file belongs: write it into a file that you alone can read, and name that one"
	if d.cfg.AgeIdentity != "" {
		d.cfg.AgeIdentity = ""
		d.errorf(n.offset, name, "%s", instead)
	}
	return &identityFile{opened: true, problem: instead, irregular: true}
}

// identityFirst moves age_identity to the front of the members of v, for the
// secrets among the others need it. What is wrong keeps its position.
func identityFirst(v hujson.Value) hujson.Value {
	obj, ok := v.Value.(*hujson.Object)
	if !ok {
		return v
	}
	members := slices.Clone(obj.Members)
	slices.SortStableFunc(members, func(a, b hujson.ObjectMember) int { return rank(a) - rank(b) })
	v.Value = &hujson.Object{Members: members}
	return v
}

func rank(m hujson.ObjectMember) int {
	if name, _ := m.Name.Value.(hujson.Literal); name.String() == "age_identity" {
		return 0
	}
	return 1
}
