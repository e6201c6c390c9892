package routing

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"time"
)

// A snapshot contains: the magic, the number of entries and of ratios, and the seed of the
// fingerprints; the entries; the ratios; and a checksum of everything. Numbers are little-endian.
const snapshotMagic = "claude-code-lb routing 2\n"

// savedHeader follows the magic.
type savedHeader struct {
	Seed            uint64
	Entries, Ratios uint32
}

// savedHolder is one account that holds one prefix.
type savedHolder struct {
	Fingerprint, Domain uint64
	Expires             int64
	Tokens, Server      uint32
}

const (
	savedHolderBytes = 32
	maxSavedName     = 1 << 10
)

// ErrSnapshot means that a snapshot is damaged or of another version.
var ErrSnapshot = errors.New("not a snapshot of this version, or damaged")

// Save writes all entries that have not expired.
func (x *Index) Save(w io.Writer, now time.Time) error {
	var all []savedHolder
	for i := range x.shards {
		all = x.shards[i].saved(now.UnixNano(), all)
	}
	x.ratios.mu.RLock()
	ratios := maps.Clone(x.ratios.byModel)
	x.ratios.mu.RUnlock()

	sum := crc32.NewIEEE()
	out := bufio.NewWriter(w)
	both := io.MultiWriter(out, sum)
	if _, err := io.WriteString(both, snapshotMagic); err != nil {
		return err
	}
	if err := binary.Write(both, binary.LittleEndian, savedHeader{Seed: x.seed, Entries: uint32(len(all)), Ratios: uint32(len(ratios))}); err != nil {
		return err
	}
	var record []byte
	for _, h := range all {
		record = h.append(record[:0])
		if _, err := both.Write(record); err != nil {
			return err
		}
	}
	for model, ratio := range ratios {
		model = model[:min(len(model), maxSavedName)]
		if err := binary.Write(both, binary.LittleEndian, struct {
			Length uint32
			Ratio  float64
		}{uint32(len(model)), ratio}); err != nil {
			return err
		}
		if _, err := io.WriteString(both, model); err != nil {
			return err
		}
	}
	if err := binary.Write(out, binary.LittleEndian, sum.Sum32()); err != nil {
		return err
	}
	return out.Flush()
}

func (h savedHolder) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, h.Fingerprint)
	b = binary.LittleEndian.AppendUint64(b, h.Domain)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Expires))
	b = binary.LittleEndian.AppendUint32(b, h.Tokens)
	return binary.LittleEndian.AppendUint32(b, h.Server)
}

// saved appends the shard's holders that are not expired and not pending.
func (s *shard) saved(at int64, into []savedHolder) []savedHolder {
	s.mu.Lock()
	defer s.mu.Unlock()
	for fingerprint, e := range s.entries {
		keep := func(h holder) {
			if h.expires > at && !h.pending {
				into = append(into, savedHolder{fingerprint, h.domain, h.expires, h.tokens, h.server})
			}
		}
		keep(e.first)
		for _, h := range e.more {
			keep(h)
		}
	}
	return into
}

// Load replaces the contents by a snapshot, and the seed by the snapshot's. It must be called
// before the first fingerprint is computed. On an error the index is unchanged.
func (x *Index) Load(r io.Reader, now time.Time) error {
	sum := crc32.NewIEEE()
	buffered := bufio.NewReader(r)
	in := io.TeeReader(buffered, sum)
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != snapshotMagic {
		return ErrSnapshot
	}
	var head savedHeader
	if err := binary.Read(in, binary.LittleEndian, &head); err != nil {
		return fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	var holders []savedHolder // grown step by step, because the number may be wrong
	var record [savedHolderBytes]byte
	for range head.Entries {
		if _, err := io.ReadFull(in, record[:]); err != nil {
			return fmt.Errorf("%w: %w", ErrSnapshot, err)
		}
		holders = append(holders, savedHolder{
			binary.LittleEndian.Uint64(record[:]), binary.LittleEndian.Uint64(record[8:]),
			int64(binary.LittleEndian.Uint64(record[16:])), binary.LittleEndian.Uint32(record[24:]), binary.LittleEndian.Uint32(record[28:]),
		})
	}
	ratios, err := loadRatios(in, head.Ratios)
	if err != nil {
		return err
	}
	want := sum.Sum32()
	var told uint32
	if err := binary.Read(buffered, binary.LittleEndian, &told); err != nil || told != want {
		return ErrSnapshot
	}
	x.restore(head.Seed, holders, ratios, now)
	return nil
}

func loadRatios(in io.Reader, n uint32) (map[string]float64, error) {
	ratios := map[string]float64{}
	if n > maxRatios {
		return nil, ErrSnapshot
	}
	for range n {
		var one struct {
			Length uint32
			Ratio  float64
		}
		if err := binary.Read(in, binary.LittleEndian, &one); err != nil || one.Length > maxSavedName {
			return nil, ErrSnapshot
		}
		model := make([]byte, one.Length)
		if _, err := io.ReadFull(in, model); err != nil {
			return nil, ErrSnapshot
		}
		if one.Ratio > 0 && one.Ratio < 10 {
			ratios[string(model)] = one.Ratio
		}
	}
	return ratios, nil
}

func (x *Index) restore(seed uint64, holders []savedHolder, ratios map[string]float64, now time.Time) {
	x.seed = seed
	x.ratios.mu.Lock()
	x.ratios.byModel = ratios
	x.ratios.mu.Unlock()
	furthest := now.Add(signerTTL).UnixNano() // a clock that was set back must not keep entries forever
	for _, h := range holders {
		if h.Expires > now.UnixNano() {
			x.put(h.Fingerprint, holder{domain: h.Domain, expires: min(h.Expires, furthest), tokens: h.Tokens, server: h.Server}, now)
		}
	}
}
