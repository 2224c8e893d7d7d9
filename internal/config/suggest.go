package config

import (
	"strings"

	"callsign/internal/explain"
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
		d := explain.Distance(strings.ToLower(name), c, limit)
		if d <= limit && (best == "" || d < bestDistance) {
			best, bestDistance = c, d
		}
	}
	return best
}
