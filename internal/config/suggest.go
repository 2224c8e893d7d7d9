package config

import (
	"strings"
)

// suggest returns the known key that was probably meant by an unknown one: of the same section by preference, as
// written in the file; of another one as "section.key". "" when nothing is near.
func (l *loader) suggest(section, name string) string {
	var own []string
	for _, k := range l.keys {
		if k.section == section {
			own = append(own, k.name)
		}
	}
	if near := nearest(name, own); near != "" {
		return near
	}
	// "password" for password_file, "certificate" for certificate_file.
	for _, k := range own {
		if len(name) >= 3 && (strings.HasPrefix(k, name+"_") || strings.HasSuffix(k, "_"+name)) {
			return k
		}
	}
	return l.home(name)
}

// home returns the first known key of that name in any section, as "section.key".
func (l *loader) home(name string) string {
	for _, k := range l.keys {
		if k.name == name || k.full() == name {
			return k.full()
		}
	}
	return ""
}

// nearest returns the candidate with the least edit distance to name, "" when none is within a third of its length.
func nearest(name string, candidates []string) string {
	best, bestDistance := "", 0
	for _, c := range candidates {
		limit := max(1, min(len(name), len(c))/3)
		d := distance(strings.ToLower(name), c, limit)
		if d <= limit && (best == "" || d < bestDistance) {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance returns the number of single-byte edits, swaps of neighbours included, between a and b; anything over limit
// counts as limit+1.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	older := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
		older, last, row = last, row, older
	}
	return last[len(b)]
}
