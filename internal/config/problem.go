package config

import (
	"cmp"
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File     string // as shown to the user; empty for a Config made in memory, and with Variable
	Line     int    // from 1; 0 when the place is not known
	Column   int    // from 1, in bytes; 0 when the place is not known
	Variable string // environment variable that set the key; empty when a file did
	Key      string // "capf.ra_url"; a section ("capf"); empty for a file that does not parse
	Text     string // what is wrong, with the value
	Fix      string // what to do; may be empty where Text says it
}

// Error implements error: "callsign.toml:14:3: capf.ra_url: scheme must be https (got "http")", with the name of the
// variable in place of file, line and column where it comes from the environment.
func (p Problem) Error() string {
	var parts []string
	if at := cmp.Or(p.Variable, (position{file: p.File, line: p.Line, column: p.Column}).String()); at != "" {
		parts = append(parts, at)
	}
	if p.Key != "" {
		parts = append(parts, p.Key)
	}
	return strings.Join(append(parts, p.Text), ": ")
}

// Code returns "config.invalid".
func (Problem) Code() string { return "config.invalid" }

// Remedy returns what to do; empty when Error says it.
func (p Problem) Remedy() string { return p.Fix }

// Errors are all problems of a configuration, at least one.
type Errors []Problem

// Error implements error: one line for each problem.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns each Problem as an error of its own.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, p := range e {
		all[i] = p
	}
	return all
}

// Code returns "config.invalid".
func (Errors) Code() string { return "config.invalid" }

// Remedy returns what to do: each different remedy once, in the order of the problems.
func (e Errors) Remedy() string {
	var fixes []string
	seen := map[string]bool{}
	for _, p := range e {
		if p.Fix != "" && !seen[p.Fix] {
			seen[p.Fix] = true
			fixes = append(fixes, p.Fix)
		}
	}
	if len(fixes) == 0 {
		return "correct the configuration at the places named above"
	}
	return strings.Join(fixes, "; ")
}

// FileError is a configuration file that cannot be read.
type FileError struct {
	Path    string
	ErrCode string // "config.missing", "config.unreadable" or "config.too-large"
	Detail  string
	Fix     string
	Err     error // the operating system's error, or nil
}

// Error implements error.
func (e *FileError) Error() string { return "configuration " + e.Path + ": " + e.Detail }

// Unwrap returns the operating system's error.
func (e *FileError) Unwrap() error { return e.Err }

// Code returns the stable code.
func (e *FileError) Code() string { return e.ErrCode }

// Remedy returns what to do.
func (e *FileError) Remedy() string { return e.Fix }

// position is a place in a file, or an environment variable.
type position struct {
	file         string
	line, column int
	variable     string
}

// String returns "file:line:column" as far as it is known, or "environment NAME".
func (p position) String() string {
	switch {
	case p.variable != "":
		return "environment " + p.variable
	case p.line == 0:
		return p.file
	case p.column == 0:
		return fmt.Sprintf("%s:%d", p.file, p.line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.file, p.line, p.column)
	}
}
