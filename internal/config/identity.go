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
	// IdentityVariable names the identity file if the configuration does not.
	IdentityVariable = "CLAUDE_CODE_LB_AGE_IDENTITY"
	// identityMark is part of every line that is an identity, of either kind.
	identityMark = "AGE-SECRET-KEY-"
)

// identityFile is the file with the identities that decrypt secrets. It is read when the first
// encrypted secret needs it.
type identityFile struct {
	path  string
	label string // name of the file in messages: never the value of a variable

	opened     bool
	identities []age.Identity
	problem    string
	irregular  bool // not a regular file, so reading may block
}

// ReadIdentities reads a file of age identities; the first is used to encrypt. It returns at least
// one. Errors contain neither the file's content nor its name.
func ReadIdentities(path string) ([]age.Identity, error) {
	b, err := readRegular(path)
	if err != nil {
		return nil, err
	}
	if text := bytes.TrimSpace(b); bytes.HasPrefix(text, []byte(ageMagic)) || bytes.HasPrefix(text, []byte(armor.Header)) {
		return nil, errors.New("it is encrypted, and the balancer cannot ask for its passphrase")
	}
	identities, err := age.ParseIdentities(bytes.NewReader(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))))
	if err != nil { // it may quote the line
		return nil, errors.New(`it does not hold an age identity, a line that begins with AGE-SECRET-KEY-, as "claude-code-lb secret new-identity" writes it`)
	}
	return identities, nil
}

// open reads the file once, and returns a description of a problem.
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

// vault returns the identity file of this configuration. It must be called after age_identity is
// decoded.
func (d *decoder) vault() *identityFile {
	if d.identity == nil {
		d.identity = d.locateIdentity()
	}
	return d.identity
}

// locateIdentity returns the identity file: the one in the configuration, else in the environment,
// else next to the configuration and named after it.
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
	// As a path it would appear in messages and in the log.
	const instead = "an identity itself stands where the name of its file belongs: write it into a file that you alone can read, and name that one"
	if d.cfg.AgeIdentity != "" {
		d.cfg.AgeIdentity = ""
		d.errorf(n.offset, name, "%s", instead)
	}
	return &identityFile{opened: true, problem: instead, irregular: true}
}

// identityFirst moves age_identity to the front of the members of v, because secrets among the
// others need it. Positions of problems stay the same.
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
