package ledger

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Money is an amount in nano-dollars. The price of a token is a whole number of nano-dollars, so
// sums are exact.
type Money int64

// dollar is one dollar.
const dollar Money = 1e9

// String returns dollars, such as "0.012345".
func (m Money) String() string {
	return strconv.FormatFloat(m.Dollars(), 'f', 6, 64)
}

// Exact returns dollars to the last nano-dollar, such as "0.012345678" or "3".
func (m Money) Exact() string {
	sign, n := "", uint64(m)
	if m < 0 {
		sign, n = "-", -n
	}
	s := fmt.Sprintf("%s%d.%09d", sign, n/uint64(dollar), n%uint64(dollar))
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// USD converts dollars to Money, rounded to nano-dollars.
func USD(dollars float64) Money { return money(dollars * float64(dollar)) }

// Dollars returns the amount in dollars, for uses that need not be exact.
func (m Money) Dollars() float64 { return float64(m) / float64(dollar) }

// ofAnswer rounds the cost of one response in nano-dollars. It bounds the amount, because absurd
// counts in a response must not make sums overflow.
func ofAnswer(nano float64) Money {
	const most = float64(10_000 * dollar)
	return money(max(min(nano, most), -most))
}

// money rounds an amount in nano-dollars of any size.
func money(nano float64) Money { return Money(math.Round(min(nano, math.MaxInt64/2))) }

// tokens returns the cost of n tokens at a price per million, in nano-dollars.
func tokens(n int64, perMillion float64) float64 {
	return float64(max(n, 0)) * math.Round(perMillion*1000)
}
