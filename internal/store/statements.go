package store

// chunk is how many lines a statement inserts at most.
const chunk = 25

// statements are those that every batch is written by, the way the database wants them. They are never changed.
type statements struct {
	batch              string
	requests, attempts []insertion
	hourly, daily      string
}

// insertion is a statement that inserts so many lines.
type insertion struct {
	lines     int
	statement string
}

func (d *dialect) newStatements() statements {
	return statements{
		batch:    d.rebind(`INSERT INTO batches (id, time) VALUES (?, ?) ON CONFLICT (id) DO NOTHING`),
		requests: d.insertions(`requests (`+requestColumns+`)`, requestWidth),
		attempts: d.insertions(`attempts (`+attemptColumns+`)`, attemptWidth),
		hourly:   d.rebind(addition("hourly")),
		daily:    d.rebind(addition("daily")),
	}
}

// insertions are the statements for any number of lines, those for many first.
func (d *dialect) insertions(into string, width int) []insertion {
	var out []insertion
	for _, n := range []int{chunk, 5, 1} {
		out = append(out, insertion{n, d.rebind(`INSERT INTO ` + into + ` VALUES ` + placeholders(n, width))})
	}
	return out
}
