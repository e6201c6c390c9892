// Package upstream has the endpoints and their state.
//
// An Endpoint is a server of one generation of the configuration. Its state (circuit breakers,
// balance, requests in flight) is in an endpointState, which is keyed by the server's identity,
// survives reloads, and is shared by the generations that have that identity.
//
// Availability is computed when an endpoint is chosen, by comparing stored times with the current
// time: no goroutine sleeps to clear a cooldown. A request has a Lease on its endpoint. The lease
// is settled once, as soon as the outcome is known, and released once, after the last byte.
package upstream
