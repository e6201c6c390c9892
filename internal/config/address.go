package config

import (
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
)

// address decodes the base URL of a server. It returns shown if the URL contains no secret.
func (d *decoder) address(path string, offset int, s, shown string, into reflect.Value) string {
	if strings.ContainsAny(shown, "@?#") {
		shown = ""
	}
	errors := d.errors
	// A URL's error would quote the URL, so the message contains only the reason.
	u, err := url.Parse(strings.TrimRight(s, "/"))
	web := err == nil && (u.Scheme == "http" || u.Scheme == "https")
	switch {
	case s == "":
		d.errorf(offset, path, "is empty")
	case strings.ContainsAny(s, " \t\r\n"):
		d.errorf(offset, path, "holds a blank or a line break: remove it")
	case web && u.Hostname() == "":
		d.errorf(offset, path, "has no host")
	case web:
		d.addressParts(path, offset, s, u)
	case !strings.Contains(s, "://"):
		d.errorf(offset, path, "%s", noScheme(shown))
	case err == nil:
		d.errorf(offset, path, "must begin with https:// or http://")
	default:
		d.errorf(offset, path, "is not a URL: %s", reason(err))
	}
	if d.errors > errors {
		return shown
	}
	u.Host = strings.ToLower(strings.TrimSuffix(u.Host, ":"))
	into.Set(reflect.ValueOf(u))
	return shown
}

// addressParts reports the parts of a URL that a base address cannot have.
func (d *decoder) addressParts(path string, offset int, s string, u *url.URL) {
	if u.User != nil {
		d.errorf(offset, path, `must not hold a user or password: write the credential in "token"`)
	}
	if strings.Contains(s, "#") {
		d.errorf(offset, path, "must not have a fragment: remove everything from the # on")
	} else if strings.Contains(s, "?") {
		d.errorf(offset, path, "must not have a query: remove everything from the ? on")
	}
	if port := u.Port(); port != "" && !isPort(port) {
		d.errorf(offset, path, "has a port out of range 0 to 65535")
	}
	if strings.ContainsFunc(u.Host, func(r rune) bool { return !strings.ContainsRune("-._:[]%", r) && !isAlphanumeric(r) }) {
		d.errorf(offset, path, "has a host with a character that no host name has")
	}
}

func noScheme(shown string) string {
	if shown == "" {
		return "must begin with https:// or http://"
	}
	return "must begin with https:// or http://: write " + strconv.Quote("https://"+shorten(shown))
}

// reason returns the innermost message of a url.Parse error, which contains no more than a few
// characters of the URL.
func reason(err error) string {
	if e, ok := err.(*url.Error); ok {
		err = e.Err
	}
	switch err.(type) {
	case url.EscapeError:
		return "a % must be followed by two hexadecimal digits"
	case url.InvalidHostError:
		return "its host has a character that no host name has"
	}
	if strings.Contains(err.Error(), "port") {
		return "its port is not a number"
	}
	return "it cannot be read"
}

// isPort reports whether s is a number from 0 to 65535.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n <= 65535
}

// IsLoopback reports whether a host, without a port, is this machine. It judges by the text alone,
// without a lookup.
func IsLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
