package config

import "net"

// checkAdmin checks the address of the admin listener: an address that other machines reach needs a
// key.
func (d *decoder) checkAdmin(cfg *Config) {
	if n, ok := d.wrote("admin_key"); ok {
		switch {
		case cfg.AdminKey.Empty():
			d.errorf(n.offset, "admin_key", "is empty: every client could send it")
		case cfg.Admin == AdminOff:
			d.warnf(n.offset, "admin_key", `is ignored, because "admin" is "off"`)
		default:
			d.checkHeaderValue(n.offset, "admin_key", cfg.AdminKey)
		}
	}
	n, ok := d.wrote("admin")
	if !ok || cfg.Admin == "" || cfg.Admin == AdminOff || !d.checkBinding(n, "admin", cfg.Admin, "3001") {
		return
	}
	host, port, _ := net.SplitHostPort(cfg.Admin)
	if cfg.AdminKey.Empty() && !IsLoopback(host) && d.fine("admin_key") {
		d.errorf(n.offset, "admin", `can be reached from other machines: write an "admin_key", or 127.0.0.1 as its host`)
	}
	if port != "0" && cfg.Admin == cfg.Address() {
		d.errorf(n.offset, "admin", "is the address that clients use: nothing administrative is served there")
	}
}
