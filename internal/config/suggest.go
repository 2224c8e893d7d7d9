package config

import (
	"slices"
	"strings"

	"callsign/internal/explain"
)

// suggest returns the end of a sentence about an unknown key of a section: the known one that was probably meant, of the
// same section by preference, as written in the file; of another one as "section.key". Empty when nothing is near.
func (l *loader) suggest(s *section, name string) string {
	var own []string
	for _, k := range s.keys {
		own = append(own, k.name)
	}
	near := nearest(name, own)
	if near == "" && s.label != "" && l.in("ra", name) {
		return ": it stands in [ra], for all labels"
	}
	for _, k := range own { // "password" for password_file, "certificate" for certificate_file
		if near == "" && len(name) >= 3 && (strings.HasPrefix(k, name+"_") || strings.HasSuffix(k, "_"+name)) {
			near = k
		}
	}
	if near == "" {
		near = l.home(name)
	}
	if near == "" {
		return ""
	}
	return ", did you mean " + near + "?"
}

// in reports whether a fixed section has a key.
func (l *loader) in(section, name string) bool {
	return slices.ContainsFunc(l.keys, func(k key) bool { return k.section == section && k.name == name })
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
