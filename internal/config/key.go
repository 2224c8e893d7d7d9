package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// section is a table of the file with its keys.
type section struct {
	name  string
	label string // NAME of [label.NAME]
	doc   string
	keys  []key
}

// key is a row of the table of keys.
type key struct {
	section string // "capf"
	name    string // "listen"
	doc     string // what it is, in sentences; the first one goes into rendered files
	field   func(*Config) any
	def     any               // same type as the field
	base    func(*Config) any // what counts where the key of a label is not set; nil: def
	path    pathKind
	check   func(value any) string // "" or what is wrong, without "(got ...)"; see wrong
	whole   bool                   // items of the list may hold commas
	restart bool                   // a running server does not take a change over
	shown   func(c *Config) bool   // rendered even with its default; nil: never
	example any                    // for the reference, where the default says nothing; same type as the field
}

// pathKind says what is at the end of a path.
type pathKind int

const (
	notPath  pathKind = iota
	outPath           // made by us
	inFile            // must exist
	secretIn          // must exist and be private
)

// full returns "section.name".
func (k *key) full() string { return k.section + "." + k.name }

// exampleTOML returns the example as TOML writes it; "" for none.
func (k *key) exampleTOML() string {
	if k.example == nil {
		return ""
	}
	return literal(k.example)
}

// value returns the field's value.
func (k *key) value(c *Config) any {
	switch p := k.field(c).(type) {
	case *string:
		return *p
	case *bool:
		return *p
	case *int:
		return *p
	case *time.Duration:
		return *p
	case *[]string:
		return *p
	default:
		panic(fmt.Sprintf("config: key %s has a field of type %T", k.full(), p))
	}
}

// otherwise returns the value that counts where the key is not set.
func (k *key) otherwise(c *Config) any {
	if k.base != nil {
		return k.base(c)
	}
	return k.def
}

// assign sets the field to a value of its own type.
func (k *key) assign(c *Config, value any) {
	switch p := k.field(c).(type) {
	case *string:
		*p = value.(string)
	case *bool:
		*p = value.(bool)
	case *int:
		*p = value.(int)
	case *time.Duration:
		*p = value.(time.Duration)
	case *[]string:
		*p = slices.Clone(value.([]string))
	}
}

// decode sets the field from what the TOML decoder gives; it returns "" or what is wrong with the type.
func (k *key) decode(c *Config, data any) string {
	got := got
	if k.path == secretIn {
		got = func(any) string { return "" } // perhaps the secret itself
	}
	switch k.field(c).(type) {
	case *string:
		s, ok := data.(string)
		if !ok {
			return "must be a string in quotes" + got(data)
		}
		k.assign(c, s)
	case *bool:
		b, ok := data.(bool)
		if !ok {
			return "must be true or false" + got(data)
		}
		k.assign(c, b)
	case *int:
		n, ok := data.(int64)
		if !ok || int64(int(n)) != n {
			return "must be a whole number" + got(data)
		}
		k.assign(c, int(n))
	case *time.Duration:
		s, ok := data.(string)
		d, err := time.ParseDuration(s)
		if !ok || err != nil {
			return `must be a duration such as "7s", "10m" or "168h"` + got(data)
		}
		k.assign(c, d)
	case *[]string:
		list, ok := data.([]any)
		if !ok {
			return `must be a list of strings such as ["a", "b"]` + got(data)
		}
		values := make([]string, 0, len(list))
		for _, item := range list {
			s, ok := item.(string)
			if !ok {
				return "must hold strings only" + got(item)
			}
			values = append(values, s)
		}
		k.assign(c, values)
	}
	return ""
}

// wrong returns what is wrong with the field's value: "" for a good one. Where nothing is the default, an empty string
// is good.
func (k *key) wrong(c *Config) string {
	value := k.value(c)
	if k.check == nil || value == "" && k.def == "" {
		return ""
	}
	if text := k.check(value); text != "" {
		return text + got(value)
	}
	return ""
}

// got shows a value in an error text, short and on one line.
func got(value any) string {
	var text string
	switch v := value.(type) {
	case string:
		text = fmt.Sprintf("%q", withoutPassword(v))
	case map[string]any, []map[string]any:
		text = "a table"
	case []any:
		text = "a list"
	case []string:
		return "" // the check names the element
	default:
		text = fmt.Sprint(v)
	}
	const longest = 80
	if r := []rune(text); len(r) > longest {
		text = string(r[:longest]) + "..."
	}
	return " (got " + strings.ToValidUTF8(text, "?") + ")"
}

// withoutPassword hides the user part of a URL, where people put passwords.
func withoutPassword(text string) string {
	start := strings.Index(text, "://")
	end := strings.LastIndex(text, "@")
	if start < 0 || end < start {
		return text
	}
	return text[:start+3] + "..." + text[end:]
}

// equal compares two field values.
func equal(a, b any) bool {
	if list, ok := a.([]string); ok {
		return slices.Equal(list, b.([]string))
	}
	return a == b
}

// table returns all keys but those of labels, in the order of the reference.
func table() []key { return keysOf(sections()) }

// table returns all keys of c, those of its labels at the end.
func (c *Config) table() []key { return keysOf(c.sections()) }

func keysOf(sections []section) []key {
	var keys []key
	for _, s := range sections {
		keys = append(keys, s.keys...)
	}
	return keys
}

// sections returns all sections of c: the fixed ones, then those of its labels.
func (c *Config) sections() []section {
	all := sections()
	for i := range c.Labels {
		all = append(all, newLabelSection(c.Labels[i].Name, func(c *Config) *Profile { return &c.Labels[i].Profile }))
	}
	return all
}

// sectionsByName returns all sections of c by name.
func (c *Config) sectionsByName() map[string]section {
	found := map[string]section{}
	for _, s := range c.sections() {
		found[s.name] = s
	}
	return found
}

// sections returns the fixed sections in the order of the reference.
func sections() []section {
	all := []section{
		{name: "store", doc: "The database: phones, enrolments, certificates.", keys: storeKeys()},
		{name: "log", doc: "The structured log on stderr.", keys: logKeys()},
		{name: "trace", doc: "Log files in the formats of CAPF and of the Cisco RA, for existing analysers.", keys: traceKeys()},
		{name: "capf", doc: "The listener for phones, and how their certificates (LSCs) are issued.", keys: capfKeys()},
		{name: "renewal", doc: "When LSCs are renewed.", keys: renewalKeys()},
		{name: "ca", doc: `The local issuing CA: for capf.issuer = "local" and ra.authority = "local".`, keys: caKeys()},
		{name: "adcs", doc: "Microsoft AD CS web enrollment (/certsrv).", keys: adcsKeys()},
		{name: "est", doc: "The listener for EST clients (RFC 7030): the registration authority's door.", keys: estKeys()},
		{name: "ra", doc: "The registration authority behind the EST listener; a section [label.NAME] may differ in the keys from authority to lines.", keys: raKeys()},
		{name: "cluster", doc: "The certificates of call manager clusters.", keys: clusterKeys()},
	}
	for i := range all {
		for j := range all[i].keys {
			all[i].keys[j].section = all[i].name
		}
	}
	return all
}
