// Package healthcheck examines endpoints without a client's request: a Prober sends health checks,
// and a BalanceChecker runs the operator's balance command. Both report to an interface that
// package upstream implements.
package healthcheck
