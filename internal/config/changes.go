package config

import "maps"

// Change is a difference between two configurations.
type Change struct {
	Key string // "capf.listen"; "label.phones" for a label that only one of them has
	// Old and New are the values as TOML writes them. For a label that only one of them has they are "" where it is
	// missing, and its section, "[label.phones]", where it is.
	Old, New     string
	NeedsRestart bool // a running server keeps the old value
}

// String returns "capf.listen: "127.0.0.1:3804" -> ":3804"".
func (c Change) String() string {
	switch {
	case c.Old == "":
		return c.Key + ": added"
	case c.New == "":
		return c.Key + ": removed"
	default:
		return c.Key + ": " + c.Old + " -> " + c.New
	}
}

// Changes returns what is different in next, in the order of the reference, labels last. A value that a label has from
// [ra] in both is reported there alone. Which configuration came from where does not count.
func Changes(old, next *Config) []Change {
	var found []Change
	for _, k := range table() {
		if a, b := k.value(old), k.value(next); !equal(a, b) {
			found = append(found, Change{Key: k.full(), Old: shownValue(a), New: shownValue(b), NeedsRestart: k.restart})
		}
	}
	before, after := old.sectionsByName(), next.sectionsByName()
	for _, s := range old.sections() {
		if _, ok := after[s.name]; !ok && s.label != "" {
			found = append(found, Change{Key: s.name, Old: "[" + s.name + "]"})
		}
	}
	for _, s := range next.sections() {
		if s.label == "" {
			continue
		}
		was, ok := before[s.name]
		if !ok {
			found = append(found, Change{Key: s.name, New: "[" + s.name + "]"})
			continue
		}
		for i, k := range s.keys {
			a, b := was.keys[i].value(old), k.value(next)
			inherited := equal(a, was.keys[i].base(old)) && equal(b, k.base(next))
			if !equal(a, b) && !inherited {
				found = append(found, Change{Key: k.full(), Old: shownValue(a), New: shownValue(b), NeedsRestart: k.restart})
			}
		}
	}
	return found
}

// Effective returns next as far as a running server can take it over: a copy in which each key that needs a restart has
// the value of old; and what is different between old and next. The copy has not been checked: a kept value may need
// what next has no more.
func Effective(old, next *Config) (*Config, []Change) {
	c := *next
	c.Labels = append([]Label(nil), next.Labels...)
	c.origins = maps.Clone(next.origins)
	for _, k := range c.table() {
		if !k.restart {
			continue
		}
		k.assign(&c, k.value(old))
		at, ok := old.origins[k.full()]
		switch {
		case ok && c.origins != nil:
			c.origins[k.full()] = at
		default:
			delete(c.origins, k.full())
		}
	}
	return &c, Changes(old, next)
}

// shownValue returns a value as TOML writes it, without a password that someone put into a URL.
func shownValue(value any) string {
	if text, ok := value.(string); ok {
		value = withoutPassword(text)
	}
	return literal(value)
}
