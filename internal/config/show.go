package config

import (
	"slices"
	"strings"
	"time"
)

// Entry is a key of a configuration with its value.
type Entry struct {
	Key     string // "capf.listen", "label.phones.subject"
	Section string // "capf", "label.phones"
	Text    string // the value as TOML writes it
	Value   any    // string, bool, int or []string; a duration as text: "6s"
	Origin  string // as Config.Origin says it
	Set     bool   // a file or variable set it; in a Config made in memory: it differs from what would count without
}

// Entries returns every key, in the order of the reference, labels last. A password that someone put into a URL, which
// Check refuses, is left out.
func (c *Config) Entries() []Entry {
	var all []Entry
	for _, s := range c.sections() {
		for _, k := range s.keys {
			value := k.value(c)
			_, set := c.origins[k.full()]
			if c.origins == nil {
				set = !equal(value, k.otherwise(c))
			}
			e := Entry{Key: k.full(), Section: s.name, Text: shownValue(value), Origin: c.Origin(k.full()), Set: set}
			switch v := value.(type) {
			case time.Duration:
				e.Value = duration(v)
			case string:
				e.Value = withoutPassword(v)
			case []string:
				e.Value = append([]string{}, v...)
			default:
				e.Value = v
			}
			all = append(all, e)
		}
	}
	return all
}

// Doc is what is known of a key before any file is read.
type Doc struct {
	Key      string // "capf.listen"
	Section  string // "capf"
	Type     string // "string", "bool", "int", "duration" or "list"
	Default  string // as TOML writes it
	Text     string // what it is, in sentences
	Example  string // as TOML writes it; empty where the default says enough
	Variable string // of the environment
	Label    bool   // sections [label.NAME] take it, too
	Restart  bool   // a running server does not take a change over
}

// Docs returns every key of the fixed sections in the order of the reference.
func Docs() []Doc {
	var all []Doc
	for _, k := range table() {
		d := Doc{
			Key: k.full(), Section: k.section, Default: literal(k.def), Text: k.doc, Example: k.exampleTOML(),
			Variable: Variable(k.full()), Label: k.section == "ra" && isProfileKey(k.name), Restart: k.restart,
		}
		switch k.def.(type) {
		case string:
			d.Type = "string"
		case bool:
			d.Type = "bool"
		case int:
			d.Type = "int"
		case time.Duration:
			d.Type = "duration"
		case []string:
			d.Type = "list"
		}
		all = append(all, d)
	}
	return all
}

// About reports whether ReferenceOf(name) speaks of the key.
func (d Doc) About(name string) bool {
	if name == "label" || strings.HasPrefix(name, "label.") {
		last := name[strings.LastIndexByte(name, '.')+1:]
		return d.Label && (!isProfileKey(last) || name == "label" || d.Key == "ra."+last)
	}
	found := Find([]string{d.Key}, name)
	return found != "" && Below(d.Key, found)
}

// isProfileKey reports whether sections of labels take a key.
func isProfileKey(name string) bool {
	return slices.ContainsFunc(profileKeys(func(c *Config) *Profile { return &c.RA.Profile }), func(k key) bool { return k.name == name })
}

// Find returns what name means in a list of keys: a key, or the beginning of some at a dot ("capf", "label.phones"). Quotes
// around a label may be left out. What it returns is the canonical form, "" when there is no such thing.
func Find(keys []string, name string) string {
	plain := strings.NewReplacer(`"`, "", `'`, "")
	wanted := plain.Replace(strings.Trim(name, "[]"))
	for _, key := range keys {
		if plain.Replace(key) == wanted {
			return key
		}
	}
	for _, key := range keys {
		for _, section := range []string{sectionOf(key), "label"} {
			if plain.Replace(section) == wanted && Below(key, section) {
				return section
			}
		}
	}
	return ""
}

// Below reports whether a key is name, or stands in the section or sections that name means.
func Below(key, name string) bool { return key == name || strings.HasPrefix(key, name+".") }

// sectionOf returns the section of a key.
func sectionOf(key string) string {
	if section, _, ok := cutLabel(key); ok {
		return section
	}
	section, _, _ := strings.Cut(key, ".")
	return section
}

// Nearest returns the key or section in a list of keys that was probably meant by a name that Find does not know; "" when
// nothing is near.
func Nearest(keys []string, name string) string {
	candidates := []string{}
	for _, key := range keys {
		if s := sectionOf(key); !slices.Contains(candidates, s) {
			candidates = append(candidates, s)
		}
	}
	if slices.ContainsFunc(keys, func(key string) bool { return Below(key, "label") }) {
		candidates = append(candidates, "label")
	}
	candidates = append(candidates, keys...)
	if near := nearest(name, candidates); near != "" {
		return near
	}
	_, last, dotted := strings.Cut(name, ".")
	if !dotted {
		last = name
	}
	for _, key := range keys { // a key without its section, or in another one
		if strings.HasSuffix(key, "."+last) {
			return key
		}
	}
	return ""
}

// ReferenceOf returns the part of Reference about a section ("capf"), a key ("capf.listen"), the sections of labels
// ("label", "label.phones") or a key of them; "" when there is no such thing.
func ReferenceOf(name string) string {
	keys := make([]string, 0, len(Docs()))
	for _, d := range Docs() {
		keys = append(keys, d.Key)
	}
	var b strings.Builder
	if name == "label" || strings.HasPrefix(name, "label.") {
		writeLabels(&b, name)
		return b.String()
	}
	found := Find(keys, name)
	for _, s := range sections() {
		if s.name == found {
			s.write(&b)
		}
		for _, k := range s.keys {
			if k.full() == found {
				b.WriteString("[" + s.name + "]\n")
				k.write(&b)
			}
		}
	}
	return b.String()
}

// writeLabels writes the reference of sections of labels: of one key when name ends in one, else of all.
func writeLabels(b *strings.Builder, name string) {
	keys := profileKeys(func(c *Config) *Profile { return &c.RA.Profile })
	for _, k := range keys {
		if strings.HasSuffix(name, "."+k.name) {
			b.WriteString("[label.NAME]\n")
			k.write(b)
			return
		}
	}
	if strings.Count(name, ".") > 1 && !strings.ContainsAny(name, `"'`) {
		return
	}
	b.WriteString(strings.TrimPrefix(labelExample, "\n"))
	for _, k := range keys {
		b.WriteByte('\n')
		k.write(b)
	}
}
