package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"callsign/est"
)

// loadedLabel is a label while its files are read.
type loadedLabel struct {
	Label
	section section
}

// label returns the label of that name, made at its first appearance; nil when there are too many.
func (l *loader) label(name string) *loadedLabel {
	if known, ok := l.labels[name]; ok {
		return known
	}
	if len(l.labels) == maxLabels {
		return nil
	}
	made := &loadedLabel{Label: Label{Name: name}}
	made.section = newLabelSection(name, func(*Config) *Profile { return &made.Profile })
	l.labels[name] = made
	return made
}

// labelTables takes over the table label of a file, which holds a table for each label; false when there is no use in
// going on.
func (l *loader) labelTables(f *file, at position, table toml.Primitive) bool {
	tables := map[string]toml.Primitive{}
	if err := f.meta.PrimitiveDecode(table, &tables); err != nil {
		l.report(at, "label", err.Error())
		return true
	}
	seen := map[string]bool{}
	for _, path := range f.meta.Keys() {
		if path[0] != "label" || len(path) < 2 || seen[path[1]] {
			continue
		}
		seen[path[1]] = true
		if !l.labelTable(f, path[1], tables[path[1]]) {
			return false
		}
	}
	return true
}

// labelTable takes over the section of one label.
func (l *loader) labelTable(f *file, name string, table toml.Primitive) bool {
	at, data := f.locate(table, name)
	at = f.keyStart(f.keyStart(at, name), "label")
	section := labelSection(name)
	problem := Problem{File: at.file, Line: at.line, Column: at.column, Key: section}
	if _, isTable := data.(map[string]any); !isTable {
		problem.Text = "must be a section: [" + section + "]"
		if l.in("ra", name) {
			problem.Text, problem.Fix = "is outside of the section of a label", "put it below a line with the label's name, such as [label.printers]"
		}
	} else if err := est.CheckLabel(name); err != nil {
		problem.Text, problem.Fix = err.Error(), labelRemedy
	}
	if problem.Text != "" {
		l.problems = append(l.problems, problem)
		return !l.enough(f)
	}
	label := l.label(name)
	if label == nil {
		l.report(at, section, fmt.Sprintf("there are more than %d labels", maxLabels))
		return false
	}
	l.c.origins[section] = at
	return l.entries(f, entriesOf{section: label.section, path: toml.Key{"label", name}, at: at}, table)
}

// takeLabels puts the labels into the configuration, each with what [ra] says where it says nothing itself.
func (l *loader) takeLabels() {
	for _, label := range l.labels {
		for _, k := range label.section.keys {
			if _, ok := l.c.origins[k.full()]; !ok {
				k.assign(l.c, k.base(l.c))
			}
		}
		l.c.Labels = append(l.c.Labels, label.Label)
	}
	slices.SortFunc(l.c.Labels, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
}
