package config

import (
	_ "embed"
	"strings"
	"time"
)

// zoneNames are the names of the IANA time zone database, one per line, as in Go's copy. They are
// used for suggestions only: time.LoadLocation decides what exists.
//
//go:embed zones.txt
var zoneNames string

// Zone returns the time zone with a name, UTC for the empty name.
func Zone(name string) (*time.Location, error) { return time.LoadLocation(name) }

// checkZone reports an invalid time zone, with the one that was probably meant.
func (d *decoder) checkZone(n node, path, zone string) {
	if _, err := Zone(zone); err == nil && !strings.EqualFold(zone, "local") {
		return
	}
	if best := NearestZone(n.shown); best != "" {
		d.errorf(n.offset, path, `%s is not a time zone, did you mean %q?`, n.label(), best)
		return
	}
	d.errorf(n.offset, path, `%s is not a time zone such as "Europe/Berlin"`, n.label())
}

// NearestZone returns the time zone that s is most likely a misspelling or the city of, "" if none
// is close.
func NearestZone(s string) string {
	if s == "" || strings.EqualFold(s, "local") {
		return ""
	}
	all := strings.Fields(zoneNames)
	wanted := strings.ReplaceAll(strings.ToLower(s), " ", "_")
	for _, zone := range all {
		if strings.EqualFold(zone, wanted) {
			return zone
		}
	}
	for _, zone := range all {
		if strings.HasSuffix(strings.ToLower("/"+zone), "/"+wanted) {
			return zone
		}
	}
	if best := nearest(wanted, all); best != "" {
		return best
	}
	cities := make([]string, len(all))
	for i, zone := range all {
		cities[i] = zone[strings.LastIndexByte(zone, '/')+1:]
	}
	best := nearest(wanted, cities)
	for i, city := range cities {
		if best != "" && city == best {
			return all[i]
		}
	}
	return ""
}
