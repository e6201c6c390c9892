package demo

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// demoScene is a time during which some upstreams fail.
type demoScene struct {
	calm   time.Duration // all is well before it
	lasts  time.Duration
	says   string
	faults map[string]fault.Rule // by upstream
}

// demoScript is a round of scenes of about 15 seconds. No request may meet
// failures everywhere: two scenes in a row leave one upstream alone, since a
// request may live through the end of one and the beginning of the next. All
// faults come before the first content, where a balancer can hide them.
func demoScript() []demoScene {
	overloaded := always(fault.Fault{Kind: fault.Status, Status: 529})
	reset := always(fault.Fault{Kind: fault.Reset})
	errorEvent := always(fault.Fault{Kind: fault.Error, At: fault.AtMessageStart})
	limited := always(fault.Fault{Kind: fault.Status, Status: 429, Headers: map[string]string{"Retry-After": "1"}})
	silent := fault.Rule{Fault: fault.Fault{Kind: fault.Stall}, Count: 3}
	type faults = map[string]fault.Rule
	const (
		pause = 900 * time.Millisecond
		scene = 1600 * time.Millisecond
	)
	return []demoScene{
		{pause, scene, "alpha is overloaded and answers 529", faults{"alpha": overloaded}},
		{pause, scene, "beta resets every connection", faults{"beta": reset}},
		{pause, scene, "gamma sends an error event inside a 200", faults{"gamma": errorEvent}},
		{pause, scene, "alpha takes three requests and says nothing", faults{"alpha": silent}},
		{pause, scene, "beta is at its rate limit and answers 429, retry-after 1", faults{"beta": limited}},
		{pause, scene, "alpha is overloaded and beta resets every connection: gamma is left", faults{"alpha": overloaded, "beta": reset}},
	}
}

func always(f fault.Fault) fault.Rule { return fault.Rule{Fault: f} }

// playDemo plays the scenes over and over until ctx ends, and leaves all upstreams well.
func playDemo(ctx context.Context, script []demoScene, upstreams []demoUpstream, view *demoView) {
	for i := 0; ; i = (i + 1) % len(script) {
		scene := script[i]
		if !pass(ctx, scene.calm) {
			return
		}
		view.note(scene.says)
		on := scene.upstreams(upstreams)
		for _, u := range on {
			u.fake.SetFaults(scene.faults[u.name])
		}
		more := pass(ctx, scene.lasts)
		var names []string
		for _, u := range on {
			u.fake.SetFaults()
			names = append(names, u.name)
		}
		if !more {
			return
		}
		view.note(strings.Join(names, " and ") + " would answer again: one request will try after the cooldown")
	}
}

// upstreams are those of all that the scene is about.
func (s demoScene) upstreams(all []demoUpstream) []demoUpstream {
	return slices.DeleteFunc(slices.Clone(all), func(u demoUpstream) bool {
		_, struck := s.faults[u.name]
		return !struck
	})
}

// pass lets time pass and reports whether ctx lived on.
func pass(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
