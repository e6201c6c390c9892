package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const (
	maxQueued    = 256 // events per webhook
	maxTries     = 5
	firstBackoff = time.Second // before the second try; doubled before each further try
)

// Webhooks delivers events to webhooks. Each webhook has its own queue and goroutine, so that a
// slow one does not delay the others. Safe for concurrent use.
type Webhooks struct {
	log    *slog.Logger // must not publish events
	sender *sender
	ctx    context.Context // its end aborts all deliveries
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	hooks  []*hook
	closed bool
}

// New returns a Webhooks without any webhook; Apply adds them. The messages name the instance.
func New(log *slog.Logger, instance string) *Webhooks {
	return newWebhooks(log, newSender(instance, http.DefaultTransport))
}

func newWebhooks(log *slog.Logger, s *sender) *Webhooks {
	w := &Webhooks{log: log, sender: s}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// Apply applies a configuration. A webhook that stays keeps its queue and its limits; a removed one
// still gets its queued messages.
func (w *Webhooks) Apply(specs []config.Webhook) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	old := w.hooks
	w.hooks = nil
	for i, spec := range specs {
		index := slices.IndexFunc(old, func(h *hook) bool { return h.isFor(spec) })
		if index < 0 {
			w.hooks = append(w.hooks, w.start(i, spec))
			continue
		}
		old[index].spec.Store(&hookSpec{spec, hookLabel(i, spec)})
		w.hooks = append(w.hooks, old[index])
		old = slices.Delete(slices.Clone(old), index, index+1)
	}
	for _, h := range old {
		close(h.quit)
	}
}

// hookLabel returns a name for a webhook without its address.
func hookLabel(i int, w config.Webhook) string { return fmt.Sprintf("webhooks[%d] %s", i, w.Host()) }

func (w *Webhooks) start(i int, spec config.Webhook) *hook {
	h := &hook{
		log: w.log, sender: w.sender, ctx: w.ctx, queue: make(chan Message, maxQueued), quit: make(chan struct{}),
		failures: telemetry.Occasional{Every: telemetry.RepeatPeriod}, overflows: telemetry.Occasional{Every: telemetry.RepeatPeriod},
	}
	h.spec.Store(&hookSpec{spec, hookLabel(i, spec)})
	w.wg.Go(h.run)
	return h
}

// Send queues an event for all webhooks that select it. It does not block.
func (w *Webhooks) Send(r event.Record) {
	if r.Kind == "" {
		return
	}
	w.enqueue(newMessage(r))
}

func (w *Webhooks) enqueue(m Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	for _, h := range w.hooks {
		h.enqueue(m)
	}
}

// Close delivers the queued messages until ctx ends. Later events are ignored.
func (w *Webhooks) Close(ctx context.Context) {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		for _, h := range w.hooks {
			close(h.quit)
		}
	}
	w.mu.Unlock()
	defer context.AfterFunc(ctx, w.cancel)()
	w.wg.Wait()
	w.cancel()
}

// hook is one webhook with its queue.
type hook struct {
	log    *slog.Logger
	sender *sender
	ctx    context.Context
	spec   atomic.Pointer[hookSpec]
	queue  chan Message
	quit   chan struct{} // closed when nothing more will be queued

	failures, overflows telemetry.Occasional
	dropped             atomic.Int64
}

type hookSpec struct {
	config.Webhook
	label string
}

// isFor reports whether a configuration means this webhook: same address and format.
func (h *hook) isFor(w config.Webhook) bool {
	spec := h.spec.Load()
	return spec.URL == w.URL && spec.Format == w.Format
}

// enqueue queues an event if the webhook selects it.
func (h *hook) enqueue(e Message) {
	spec := h.spec.Load()
	if len(spec.Events) > 0 && !slices.Contains(spec.Events, e.Name) {
		return
	}
	select {
	case h.queue <- e:
	default:
		h.dropped.Add(1)
	}
}

// run delivers messages one after another, in the order of the events.
func (h *hook) run() {
	var limits limiter
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(untilDue(&limits))
		select {
		case e := <-h.queue:
			h.handle(&limits, e)
		case <-timer.C:
			for _, e := range limits.due(h.spec.Load().MinInterval, time.Now()) {
				h.deliver(e)
			}
		case <-h.quit:
			h.finish(&limits)
			return
		}
		h.logDropped()
	}
}

// untilDue returns the time until a sum of suppressed messages is due.
func untilDue(limits *limiter) time.Duration {
	at, ok := limits.next()
	if !ok {
		return time.Hour
	}
	return max(time.Until(at), 0)
}

func (h *hook) handle(limits *limiter, e Message) {
	if limits.admit(e, h.spec.Load().MinInterval, time.Now()) {
		h.deliver(e)
	}
}

// finish delivers the queued and the suppressed messages.
func (h *hook) finish(limits *limiter) {
	for {
		select {
		case e := <-h.queue:
			h.handle(limits, e)
			continue
		default:
		}
		break
	}
	for _, e := range limits.drain() {
		h.deliver(e)
	}
	h.logDropped()
}

// logDropped logs that the queue was full, at most once per period.
func (h *hook) logDropped() {
	if h.dropped.Load() > 0 && h.overflows.Allow(time.Now()) {
		h.log.Warn(telemetry.WebhookOverflow, telemetry.Webhook, h.spec.Load().label, telemetry.Dropped, h.dropped.Swap(0))
	}
}

// deliver sends a message, and retries until the webhook accepts it, refuses it for good, or
// maxTries is reached.
func (h *hook) deliver(e Message) {
	id := newMessageID()
	for try := 1; ; try++ {
		spec := h.spec.Load()
		err := h.sender.send(h.ctx, spec.Webhook, id, e)
		switch {
		case err == nil:
			return
		case !err.retriable || try == maxTries || !h.wait(max(backoff(try+1, rand.Float64()), err.retryAfter)):
			h.logUndelivered(spec, e, err, try)
			return
		}
	}
}

// logUndelivered logs that a message was not delivered, at most once per period.
func (h *hook) logUndelivered(spec *hookSpec, e Message, err *deliveryError, tries int) {
	if h.failures.Allow(time.Now()) {
		h.log.Warn(telemetry.WebhookFailed, telemetry.Webhook, spec.label, telemetry.Event, string(e.Name), telemetry.Attempts, tries, telemetry.Err, err)
	}
}

// backoff returns the wait before a try: exponential, times a random factor from 0.5 to 1.5, so
// that many instances do not retry at the same time.
func backoff(try int, spread float64) time.Duration {
	pause := firstBackoff << (try - 2)
	return time.Duration((0.5 + spread) * float64(pause))
}

// wait waits for d. It returns false if ctx ends before that.
func (h *hook) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-h.ctx.Done():
		return false
	}
}
