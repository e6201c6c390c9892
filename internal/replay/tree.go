package replay

import "slices"

// run is a sequence of blocks with consecutive ids.
type run struct {
	first int64
	count int
}

// node is a part of a prompt between two positions where prompts end or branch. Its parents are
// part of its identity: equal nodes are equal prefixes.
type node struct {
	id       int
	parent   *node // nil for the root of a model
	first    int64 // id of its first block
	count    int   // of blocks
	tokens   int64 // of the prefix up to its end, whole blocks only
	size     int64 // of a block in tokens
	firstEnd int   // index of the first request whose prompt, or a shared part of it, ends here, or notEnded
	owner    int   // index of the first request that contains it
	children map[int64]*node
}

const notEnded = int(^uint(0) >> 1)

// tree stores the prompts of a trace, with common prefixes stored once.
type tree struct {
	roots map[string]*node // by model
	count int
}

func newTree() *tree { return &tree{roots: map[string]*node{}} }

// insert adds a prompt and returns the nodes that end after the given numbers of blocks; cuts
// ascend.
func (t *tree) insert(model string, runs []run, size int64, cuts []int, request int) []*node {
	at := t.roots[model]
	if at == nil {
		at = &node{children: map[int64]*node{}, firstEnd: notEnded}
		t.roots[model] = at
	}
	ends := make([]*node, 0, len(cuts))
	depth := 0
	for i := 0; len(ends) < len(cuts); {
		if depth == cuts[len(ends)] {
			at.firstEnd = min(at.firstEnd, request)
			ends = append(ends, at)
			continue
		}
		r := &runs[i]
		step := min(r.count, cuts[len(ends)]-depth)
		next := at.child(r.first, step, size, request)
		at = next
		depth += next.count
		if r.first, r.count = r.first+int64(next.count), r.count-next.count; r.count == 0 {
			i++
		}
	}
	return ends
}

// child returns a node below n that begins with the given block and is not longer than count. It
// splits a longer one.
func (n *node) child(first int64, count int, size int64, request int) *node {
	kid := n.children[first]
	switch {
	case kid == nil:
		kid = &node{parent: n, first: first, count: count, size: size, tokens: n.tokens + int64(count)*size, firstEnd: notEnded, owner: request, children: map[int64]*node{}}
		n.children[first] = kid
	case kid.count > count:
		upper := &node{parent: n, first: first, count: count, size: size, tokens: n.tokens + int64(count)*size, firstEnd: notEnded, owner: kid.owner, children: map[int64]*node{}}
		kid.parent, kid.first, kid.count = upper, kid.first+int64(count), kid.count-count
		upper.children[kid.first] = kid
		n.children[first] = upper
		kid = upper
	}
	return kid
}

// number assigns every node its final id, from 0, in a fixed order.
func (t *tree) number() {
	models := make([]string, 0, len(t.roots))
	for model := range t.roots {
		models = append(models, model)
	}
	slices.Sort(models)
	for _, model := range models {
		t.numberSubtree(t.roots[model])
	}
}

func (t *tree) numberSubtree(n *node) {
	pending := []*node{n}
	for len(pending) > 0 {
		n := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		n.id = t.count
		t.count++
		firsts := make([]int64, 0, len(n.children))
		for first := range n.children {
			firsts = append(firsts, first)
		}
		slices.Sort(firsts)
		for _, first := range firsts {
			pending = append(pending, n.children[first])
		}
	}
}

// guessSystem finds the system prompt of a prompt if the trace does not contain it: several prompts
// begin with it and continue differently, and none ends there, or many do. It returns nil if it
// finds none.
func (n *node) guessSystem() *node {
	const many = 8
	var system *node
	for _, each := range n.path(nil) {
		if len(each.children) < 2 || each.firstEnd != notEnded && len(each.children) < many {
			break
		}
		system = each
	}
	return system
}

// path returns the nodes from the first block to the end of n.
func (n *node) path(into []*node) []*node {
	into = into[:0]
	for ; n != nil && n.parent != nil; n = n.parent {
		into = append(into, n)
	}
	slices.Reverse(into)
	return into
}
