// Package service builds the balancer from a configuration, runs it, reloads it and stops it. It
// connects the other packages; only the command line and the demo import it.
package service
