package telemetry

import "log/slog"

// Listing tells attributes one by one, at least one. As the value of an attribute without a name it stands for all of them, and no memory is
// needed to hold them where the log is JSON. Where it is not, and for any other handler, it is a group. What it tells does not change.
type Listing func(add func(slog.Attr))

// LogValue implements slog.LogValuer.
func (l Listing) LogValue() slog.Value {
	var attrs []slog.Attr
	l(func(a slog.Attr) { attrs = append(attrs, a) })
	return slog.GroupValue(attrs...)
}
