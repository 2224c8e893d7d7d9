package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Reference returns a TOML file with every section and key, explained, with its default, commented out.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Callsign configuration reference. Every key has its default; a line without its first # sets it.\n")
	b.WriteString("# Paths are relative to the directory of this file. conf.d/*.toml beside it is read after it. Then the environment is\n")
	b.WriteString("# looked at: CALLSIGN_CAPF_LISTEN stands for capf.listen, and so for every key but those of labels.\n")
	for _, s := range sections() {
		b.WriteByte('\n')
		s.write(&b)
	}
	b.WriteString(labelExample)
	return b.String()
}

// write writes a section of the reference.
func (s *section) write(b *strings.Builder) {
	fmt.Fprintf(b, "# %s\n[%s]\n", s.doc, s.name)
	for _, k := range s.keys {
		b.WriteByte('\n')
		k.write(b)
	}
}

// write writes a key of the reference.
func (k *key) write(b *strings.Builder) {
	doc := k.doc
	if k.restart {
		doc += " A change needs a restart."
	}
	for _, line := range wrap(doc, 110) {
		b.WriteString("# " + line + "\n")
	}
	if k.example != nil {
		b.WriteString("# Example: " + k.exampleTOML() + "\n")
	}
	b.WriteString("#" + k.name + " = " + literal(k.def) + "\n")
}

// labelExample shows what a label is for.
const labelExample = `
# EST requests under a label, here those to /.well-known/est/printers/. Such a section takes the keys of [ra] from
# authority to lines; what it does not set is as in [ra]. There may be several.
# [label.printers]
# template = "PrinterTLS"
# client_ca_file = "printers-ca.pem"
# subject_is_name = true
# names = ["subject", "dns:*.print.example.com"]
`

// Render returns c as a commented file: the keys that differ from their defaults and the ones an administrator looks
// for first; of labels, the keys that differ from [ra]. Paths below c.Dir are written relative to it. Parse gives c back.
func Render(c Config) string {
	var b strings.Builder
	b.WriteString("# Callsign configuration. Paths are relative to the directory of this file.\n")
	for _, s := range c.sections() {
		head := fmt.Sprintf("\n# %s\n[%s]\n", s.doc, s.name)
		if s.label != "" { // the section alone says that there is such a label
			b.WriteString(head)
			head = ""
		}
		for _, k := range s.keys {
			value := k.value(&c)
			if equal(value, k.otherwise(&c)) && (k.shown == nil || !k.shown(&c)) {
				continue
			}
			if k.path != notPath {
				value = belowDir(c.Dir, value)
			}
			sentence, _, _ := strings.Cut(k.doc, ". ")
			fmt.Fprintf(&b, "%s# %s\n%s\n", head, strings.TrimSuffix(sentence, ".")+".", assignment(k.name, value))
			head = ""
		}
	}
	if c.EST.Listen != "" && len(c.Labels) == 0 {
		b.WriteString(labelExample)
	}
	return b.String()
}

// belowDir writes the paths of a value relative to dir.
func belowDir(dir string, value any) any {
	switch v := value.(type) {
	case string:
		return relative(dir, v)
	case []string:
		paths := make([]string, len(v))
		for i, path := range v {
			paths[i] = relative(dir, path)
		}
		return paths
	}
	return value
}

// relative returns path relative to dir when it lies below it.
func relative(dir, path string) string {
	if dir == "" || !filepath.IsAbs(path) && filepath.IsAbs(dir) {
		return path
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsLocal(rel) {
		return path
	}
	return rel
}

// assignment returns "name = value" in TOML; a list of several strings takes a line for each.
func assignment(name string, value any) string {
	list, ok := value.([]string)
	if !ok || len(list) < 2 {
		return name + " = " + literal(value)
	}
	var b strings.Builder
	b.WriteString(name + " = [\n")
	for _, item := range list {
		b.WriteString("  " + literal(item) + ",\n")
	}
	b.WriteString("]")
	return b.String()
}

// literal returns value in TOML.
func literal(value any) string {
	if d, ok := value.(time.Duration); ok {
		value = duration(d)
	}
	if list, ok := value.([]string); ok && len(list) == 0 {
		return "[]"
	}
	text, err := toml.Marshal(map[string]any{"v": value})
	if err != nil {
		panic(fmt.Sprintf("config: encode %T: %v", value, err)) // the table has no such type
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(text), "v = "), "\n")
}

// duration writes 168h and not 168h0m0s.
func duration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// wrap breaks text into lines of at most width bytes where words allow it.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
