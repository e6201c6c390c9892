package config

import "net/url"

// checkHealth looks at the health_check of a server, which stands at path: it
// asks for one thing, by a path that can be sent.
func (d *decoder) checkHealth(check HealthCheck, path string) {
	if n, ok := d.wrote(path + ".path"); ok && check.Path != "" {
		_, err := url.ParseRequestURI(check.Path)
		switch {
		case err != nil || check.Path[0] != '/':
			d.errorf(n.offset, path+".path", `%s is not a path such as "/health"`, n.label())
		case check.Model != "":
			d.errorf(n.offset, path+".path", `stands beside "model": write one of them`)
		}
	}
	if check.Enabled() || !d.fine(path+".path") || !d.fine(path+".model") {
		return
	}
	for _, name := range []string{".interval", ".jitter_percent"} {
		if n, ok := d.wrote(path + name); ok {
			d.warnf(n.offset, path+name, `is ignored without "path" or "model"`)
		}
	}
}
