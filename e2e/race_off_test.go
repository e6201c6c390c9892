//go:build !race

package e2e

// raceDetector reports whether the program is built with the race detector, like the tests.
const raceDetector = false
