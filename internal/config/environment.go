package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// prefix begins the names of our variables.
const prefix = "CALLSIGN_"

// otherVariables are read elsewhere and are no keys. CALLSIGN_LOG_LEVEL and CALLSIGN_LOG_FORMAT are both.
var otherVariables = []string{"CALLSIGN_CONFIG", "CALLSIGN_LANG", "CALLSIGN_EST_PASSWORD"}

// orchestrated are variables that Kubernetes makes for each service of a namespace: one called callsign gives them our
// prefix.
var orchestrated = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// Variable returns the environment variable that stands for a key: "CALLSIGN_CAPF_LISTEN" for "capf.listen". Keys of
// labels have none: "".
func Variable(key string) string {
	if strings.HasPrefix(key, "label.") {
		return ""
	}
	return prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// environment takes over the keys that are set by variables ("NAME=value"). They win over the files.
func (l *loader) environment(environ []string) {
	environ = slices.Clone(environ)
	slices.SortStableFunc(environ, func(a, b string) int { return strings.Compare(nameOf(a), nameOf(b)) })
	last := ""
	for _, entry := range environ {
		name := nameOf(entry)
		if !strings.HasPrefix(name, prefix) || name == last { // of several, the first counts, as for programs in Go
			continue
		}
		last = name
		if value := entry[len(name)+1:]; value != "" {
			l.variable(name, value)
		}
	}
}

// nameOf returns NAME of "NAME=value"; "" for what is no such pair.
func nameOf(entry string) string {
	name, _, ok := strings.Cut(entry, "=")
	if !ok {
		return ""
	}
	return name
}

// variable takes over one variable that has a value.
func (l *loader) variable(name, value string) {
	index := slices.IndexFunc(l.keys, func(k key) bool { return Variable(k.full()) == name })
	if index < 0 {
		l.unknownVariable(name)
		return
	}
	k := &l.keys[index]
	full := k.full()
	data, text := k.fromText(l.c, value)
	if text == "" {
		text = k.decode(l.c, data)
	}
	if text != "" {
		l.bad[full] = true
		l.problems = append(l.problems, Problem{Variable: name, Key: full, Text: text})
		return
	}
	l.bad[full] = false
	l.c.origins[full] = position{variable: name}
}

// unknownVariable warns of a variable that looks like ours. It is no error: not everybody who sets such names means us.
func (l *loader) unknownVariable(name string) {
	if slices.Contains(otherVariables, name) || orchestrated.MatchString(name) {
		return
	}
	p := Problem{Variable: name, Text: "is no variable of callsign"}
	switch near := l.nearestVariable(name); {
	case strings.HasPrefix(name, prefix+"LABEL_"):
		p.Text, p.Fix = "has no effect: keys of labels cannot be set in the environment", "set the key in the section of the label"
	case near != "":
		p.Text += ", did you mean " + near + "?"
	}
	l.c.unknown = append(l.c.unknown, p)
}

func (l *loader) nearestVariable(name string) string {
	var names []string
	for _, k := range l.keys {
		names = append(names, strings.ToLower(Variable(k.full())))
	}
	return strings.ToUpper(nearest(name, names))
}

// fromText makes of a variable's text what the TOML decoder would give for the key, or says what is wrong with it. Text
// stands as it is, "" in quotes for an empty one; lists are TOML, or items between commas where no item can hold one.
func (k *key) fromText(c *Config, text string) (data any, wrong string) {
	if len(text) > MaxLineBytes {
		return nil, fmt.Sprintf("is longer than %d KiB", MaxLineBytes>>10)
	}
	if !utf8.ValidString(text) {
		return nil, "is not UTF-8 text"
	}
	switch k.field(c).(type) {
	case *string:
		if text == `""` {
			return "", ""
		}
	case *bool:
		if text == "true" || text == "false" {
			return text == "true", ""
		}
	case *int:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, ""
		}
	case *[]string:
		return k.listFrom(text)
	}
	return text, ""
}

// listFrom reads a list.
func (k *key) listFrom(text string) (data any, wrong string) {
	if strings.HasPrefix(text, "[") {
		var v map[string]any
		meta, err := toml.Decode("v = "+text, &v)
		if err != nil || len(meta.Keys()) != 1 {
			return nil, `must be a list of strings such as ["a", "b"]` + got(text)
		}
		return v["v"], ""
	}
	if k.whole {
		return []any{text}, ""
	}
	var items []any
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			return nil, "has an empty item" + got(text)
		}
		items = append(items, item)
	}
	return items, ""
}
