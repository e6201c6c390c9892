package config

// checkFailover warns about settings that disable failover or have no effect.
func (d *decoder) checkFailover(cfg *Config) {
	several := len(cfg.Servers) > 1
	if n, ok := d.wrote("max_attempts"); ok && cfg.MaxAttempts == 1 && several {
		d.warnf(n.offset, "max_attempts", "of 1 switches failover off: no request is sent to a second server")
	}
	if n, ok := d.wrote("hedge"); ok && cfg.Hedge && !several {
		d.warnf(n.offset, "hedge", "is ignored with a single server")
	}
	d.checkSilence(cfg)
	if n, ok := d.wrote("stream_keepalive"); ok && cfg.StreamKeepalive > 0 && cfg.Timeouts.Total > 0 && cfg.StreamKeepalive >= cfg.Timeouts.Total {
		d.warnf(n.offset, "stream_keepalive", "never begins before an answer: timeouts.total ends the request sooner")
	}
	if n, ok := d.wrote("max_wait"); ok && cfg.Timeouts.Total > 0 && cfg.MaxWait > cfg.Timeouts.Total {
		d.warnf(n.offset, "max_wait", "is cut short by timeouts.total")
	}
	d.checkFirstContent(cfg.Timeouts)
}

// checkSilence uses the deprecated name of stream_keepalive if only that is written.
func (d *decoder) checkSilence(cfg *Config) {
	n, ok := d.wrote("silence")
	if !ok {
		return
	}
	if _, both := d.nodes["stream_keepalive"]; both {
		d.warnf(n.offset, "silence", `is deprecated and ignored, because "stream_keepalive" is written: remove it`)
	} else {
		cfg.StreamKeepalive = cfg.Silence
		d.warnf(n.offset, "silence", `is deprecated: write "stream_keepalive" instead`)
	}
	cfg.Silence = 0
}

// checkFirstContent warns if one hanging server can use all of the time. It is not charged then,
// because it may have been about to respond.
func (d *decoder) checkFirstContent(t Timeouts) {
	if t.Total == 0 || 0 < t.ResponseHeader && t.ResponseHeader < t.Total {
		return
	}
	if n, ok := d.wrote("timeouts.response_header"); ok {
		d.warnf(n.offset, "timeouts.response_header", "is not below timeouts.total (%s): a server that hangs leaves no time for another one", formatDuration(t.Total))
	} else if n, ok := d.wrote("timeouts.total"); ok {
		d.warnf(n.offset, "timeouts.total", "is not above timeouts.response_header (%s): a server that hangs leaves no time for another one", formatDuration(t.ResponseHeader))
	}
}
