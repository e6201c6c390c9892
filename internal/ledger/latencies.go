package ledger

import (
	"math"
	"time"
)

const (
	// Each bucket is 5 % wider than the one before: quantiles are off by at most 2.5 %.
	bucketGrowth   = 1.05
	smallestBucket = 100 * time.Microsecond
	bucketCount    = 330 // the last one begins at about 15 minutes
)

// latencies is a histogram of fixed size with buckets that grow geometrically.
type latencies struct {
	count   int64
	sum     time.Duration
	max     time.Duration
	buckets [bucketCount]uint32
}

func (l *latencies) add(d time.Duration) {
	l.count++
	l.sum += d
	l.max = max(l.max, d)
	l.buckets[bucketOf(d)]++
}

func (l *latencies) mean() time.Duration {
	if l.count == 0 {
		return 0
	}
	return l.sum / time.Duration(l.count)
}

// quantile returns the middle of the bucket that contains the q-quantile.
func (l *latencies) quantile(q float64) time.Duration {
	rank := int64(math.Ceil(q * float64(l.count)))
	for i, n := range l.buckets {
		if rank -= int64(n); rank <= 0 && n > 0 {
			return min(bucketMiddle(i), l.max)
		}
	}
	return l.max
}

func bucketOf(d time.Duration) int {
	if d <= smallestBucket {
		return 0
	}
	i := int(math.Log(float64(d)/float64(smallestBucket)) / math.Log(bucketGrowth))
	return min(i, bucketCount-1)
}

func bucketMiddle(i int) time.Duration {
	return time.Duration(float64(smallestBucket) * math.Pow(bucketGrowth, float64(i)+0.5))
}
