//go:build !race

package e2e

// raceDetector says whether the program is built with the race detector: as the tests are.
const raceDetector = false
