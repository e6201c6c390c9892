package demo

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// scene is a period in which some upstreams fail.
type scene struct {
	pause    time.Duration // time before it without failures
	duration time.Duration
	text     string
	faults   map[string]fault.Rule // by upstream
}

// script returns a round of scenes of about 15 seconds. In any two consecutive scenes one upstream
// has no fault, because a request may last from the end of one scene to the beginning of the next.
// All faults come before the first content, where a balancer can hide them.
func script() []scene {
	overloaded := always(fault.Fault{Kind: fault.Status, Status: 529})
	reset := always(fault.Fault{Kind: fault.Reset})
	errorEvent := always(fault.Fault{Kind: fault.Error, At: fault.AtMessageStart})
	limited := always(fault.Fault{Kind: fault.Status, Status: 429, Headers: map[string]string{"Retry-After": "1"}})
	silent := fault.Rule{Fault: fault.Fault{Kind: fault.Stall}, Count: 3}
	type faults = map[string]fault.Rule
	const (
		pause = 900 * time.Millisecond
		lasts = 1600 * time.Millisecond
	)
	return []scene{
		{pause, lasts, "alpha is overloaded: 529", faults{"alpha": overloaded}},
		{pause, lasts, "beta resets every connection", faults{"beta": reset}},
		{pause, lasts, "gamma sends an error event inside a 200", faults{"gamma": errorEvent}},
		{pause, lasts, "alpha accepts three requests and does not respond", faults{"alpha": silent}},
		{pause, lasts, "beta has reached its rate limit: 429, retry-after 1", faults{"beta": limited}},
		{pause, lasts, "alpha is overloaded and beta resets every connection: gamma is left", faults{"alpha": overloaded, "beta": reset}},
	}
}

func always(f fault.Fault) fault.Rule { return fault.Rule{Fault: f} }

// playScenes plays the scenes repeatedly until ctx ends, and removes all faults at the end.
func playScenes(ctx context.Context, script []scene, upstreams []simulatedUpstream, view *screen) {
	for i := 0; ; i = (i + 1) % len(script) {
		scene := script[i]
		if !sleep(ctx, scene.pause) {
			return
		}
		view.note(scene.text)
		faulty := scene.upstreams(upstreams)
		for _, u := range faulty {
			u.fake.SetFaults(scene.faults[u.name])
		}
		continues := sleep(ctx, scene.duration)
		var names []string
		for _, u := range faulty {
			u.fake.SetFaults()
			names = append(names, u.name)
		}
		if !continues {
			return
		}
		view.note(strings.Join(names, " and ") + " recovered: one request will probe after the cooldown")
	}
}

// upstreams returns the upstreams that have a fault in the scene.
func (s scene) upstreams(all []simulatedUpstream) []simulatedUpstream {
	return slices.DeleteFunc(slices.Clone(all), func(u simulatedUpstream) bool {
		_, hasFault := s.faults[u.name]
		return !hasFault
	})
}

// sleep waits for d. It returns false if ctx ended before that.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
