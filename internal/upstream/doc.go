// Package upstream is one endpoint and what has been learned about it.
//
// What the operator wrote about a server belongs to one generation of the
// configuration and lives in an Endpoint. What was learned (circuit breaker,
// balance, requests in flight) lives in its learned state, which is keyed by
// the server's identity, survives a reload, and is shared by the generations
// that know that identity.
//
// Health is read when an endpoint is chosen, by comparing stored times with the
// present one: no goroutine ever sleeps to clear a cooldown. A request holds a
// Lease on its endpoint: it is settled once, as soon as the verdict is known,
// and released once, after the last byte.
package upstream
