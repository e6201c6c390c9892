// Package demo runs the balancer in front of simulated upstreams, with simulated clients, and shows
// on a terminal how it hides their faults.
package demo
