package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/cluster"
	"callsign/internal/config"
)

func (e *env) configCommand() *cobra.Command {
	return group("config", "Check, show and explain the configuration", e.configValidateCommand(), e.configShowCommand(), e.configReferenceCommand())
}

// configProblem is a problem of a configuration in JSON.
type configProblem struct {
	File     string `json:"file"` // empty where a variable is at fault
	Line     int    `json:"line"` // 0: not known
	Column   int    `json:"column"`
	Variable string `json:"variable,omitempty"`
	Key      string `json:"key"`
	Text     string `json:"text"`
	Fix      string `json:"fix"`
}

func configProblems(problems []config.Problem) []configProblem {
	items := make([]configProblem, len(problems))
	for i, p := range problems {
		items[i] = configProblem(p)
	}
	return items
}

func (e *env) configValidateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "validate [FILE]", Short: "Find everything that is wrong with a configuration",
		Long: `Find everything that is wrong with a configuration: FILE, else the one that --config names, with conf.d/*.toml beside it and the
environment. Keys, values and what they need of each other are judged, and whether the files that they name can be read
and are private where they must be. Nothing is opened but these files, and nobody is asked; callsign check does that.

One line for each problem goes to stdout: FILE:LINE:COLUMN: KEY: what is wrong.`,
		Example: `  callsign config validate
  callsign config validate /etc/callsign/callsign.toml && callsign reload
  callsign config validate new.toml --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage(fmt.Errorf("name one file, not %d", len(args)))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			path := e.config
			if len(args) == 1 {
				path = args[0]
			}
			return e.validateConfig(path)
		},
	}
	return exits(cmd, exitOK, exitUsage)
}

func (e *env) validateConfig(path string) error {
	c, err := config.Validate(path, os.Environ())
	var (
		problems config.Errors
		warnings []config.Problem
	)
	unread, isFile := errors.AsType[*config.FileError](err)
	if err == nil {
		if problems = describedWrong(path, c); len(problems) > 0 {
			err = problems
		}
	}
	switch {
	case err == nil:
		warnings = c.Warnings()
	case isFile && e.json:
		problems = config.Errors{{File: unread.Path, Text: unread.Detail, Fix: unread.Fix}}
	case !errors.As(err, &problems):
		return &exitError{code: exitUsage, err: err}
	}
	if e.json {
		if err := e.printJSON(struct {
			Valid    bool            `json:"valid"`
			Problems []configProblem `json:"problems"`
			Warnings []configProblem `json:"warnings"`
		}{err == nil, configProblems(problems), configProblems(warnings)}); err != nil {
			return err
		}
	} else {
		e.printProblems(path, problems, warnings)
	}
	if err != nil {
		return &exitError{code: exitUsage}
	}
	return nil
}

// describedWrong is what is wrong with the descriptions of clusters that a configuration names.
func describedWrong(path string, c *config.Config) config.Errors {
	_, err := app.LoadClusters(c)
	if p, ok := errors.AsType[*cluster.Problem](err); ok {
		return config.Errors{{File: path, Key: "cluster.files", Text: p.Error(), Fix: p.Remedy()}}
	}
	return nil
}

// printProblems says on stdout what is wrong, or that nothing is.
func (e *env) printProblems(path string, problems config.Errors, warnings []config.Problem) {
	for _, p := range problems {
		fmt.Fprintln(e.out, visible(p.Error()))
		if p.Fix != "" {
			fmt.Fprintln(e.out, "  fix: "+visible(p.Fix))
		}
	}
	for _, p := range warnings {
		e.hint("warning: %s\n", visible(p.Error()))
	}
	if n := len(problems); n > 0 {
		e.hint("%d problem%s\n", n, plural(n))
		return
	}
	fmt.Fprintf(e.out, "%s is valid\n", visible(path))
}

// configItem is a key of the configuration in JSON.
type configItem struct {
	Key     string `json:"key"`
	Section string `json:"section"`
	Value   any    `json:"value"`
	Origin  string `json:"origin"` // where it was set, or "default"
	Set     bool   `json:"set"`    // false: the default counts, or what a label has from [ra]
}

func (e *env) configShowCommand() *cobra.Command {
	var all, origin bool
	cmd := &cobra.Command{
		Use: "show [KEY|SECTION]...", Short: "Show the values that count",
		Long: `Show the values that count after files, environment and flags: keys that were set, with --all those with their defaults, too. Names
choose keys (est.listen), sections (est) or labels (label.phones, or label for all). Each line is TOML. Secrets do not
stand in a configuration, only the names of their files.

A flag wins over the environment, the environment over conf.d/*.toml, and that over the file. The variable of a key is
CALLSIGN_, its section and its name: CALLSIGN_EST_LISTEN for est.listen. Text and numbers stand in it as they are, lists
as in TOML or between commas, "" for an empty text. A variable without a value counts as not set. Labels have none.`,
		Example: `  callsign config show --origin
  callsign config show label.phones --all
  callsign config show est.listen ra --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			entries := c.Entries()
			for i := range entries {
				for key, flag := range map[string]string{"log.level": "log-level", "log.format": "log-format"} {
					if f := cmd.Flags().Lookup(flag); entries[i].Key == key && f.Changed {
						value := f.Value.String()
						entries[i].Value, entries[i].Text = value, fmt.Sprintf("%q", value)
						entries[i].Origin, entries[i].Set = "flag --"+flag, true
					}
				}
			}
			chosen, err := chooseEntries(entries, args, all)
			if err != nil {
				return err
			}
			if !e.json {
				e.printEntries(chosen, origin)
				if len(chosen) == 0 {
					e.hint("no key is set there, the defaults count; to see them: %s\n", e.toCopy("callsign config show --all"))
				}
				return nil
			}
			items := make([]configItem, len(chosen))
			for i, entry := range chosen {
				items[i] = configItem{Key: entry.Key, Section: entry.Section, Value: entry.Value, Origin: entry.Origin, Set: entry.Set}
			}
			return e.printJSON(struct {
				Items []configItem `json:"items"`
				Total int          `json:"total"`
			}{items, len(items)})
		},
		ValidArgsFunction: func(_ *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
			keys := referenceKeys()
			if c, err := config.Load(e.config); err == nil {
				keys = entryKeys(c.Entries())
			}
			return completeKeys(keys, prefix)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "show keys with their defaults, too")
	f.BoolVar(&origin, "origin", false, "say where each value was set")
	return exits(cmd, exitOK, exitUsage)
}

// chooseEntries returns the entries that names mean, in the order of the reference: the key itself, of a section those
// that were set, or all of it. Without names it is every section.
func chooseEntries(entries []config.Entry, names []string, all bool) ([]config.Entry, error) {
	keys := entryKeys(entries)
	wanted := make([]string, len(names))
	for i, name := range names {
		if wanted[i] = config.Find(keys, name); wanted[i] == "" {
			return nil, unknownKey(keys, name)
		}
	}
	var chosen []config.Entry
	for _, x := range entries {
		take := len(names) == 0 && (all || x.Set)
		for _, name := range wanted {
			take = take || x.Key == name || config.Below(x.Key, name) && (all || x.Set)
		}
		if take {
			chosen = append(chosen, x)
		}
	}
	return chosen, nil
}

func unknownKey(keys []string, name string) error {
	var near []string
	if n := config.Nearest(keys, name); n != "" {
		near = []string{n}
	}
	return usage(fmt.Errorf("there is no key or section %q%s", oneLine(name), didYouMean(near)))
}

// longestAligned is the longest line behind which origins stand in one column.
const longestAligned = 60

func (e *env) printEntries(entries []config.Entry, origin bool) {
	width := 0
	lines := make([]string, len(entries))
	for i, x := range entries {
		lines[i] = visible(x.Key + " = " + x.Text)
		if n := len([]rune(lines[i])); n <= longestAligned {
			width = max(width, n)
		}
	}
	for i, x := range entries {
		if origin {
			lines[i] += strings.Repeat(" ", max(width-len([]rune(lines[i])), 0)) + "  # " + visible(x.Origin)
		}
		fmt.Fprintln(e.out, lines[i])
	}
}

// configDoc is a key of the reference in JSON.
type configDoc struct {
	Key      string `json:"key"`
	Section  string `json:"section"`
	Type     string `json:"type"`    // string, bool, int, duration or list
	Default  string `json:"default"` // as TOML writes it
	Text     string `json:"text"`
	Example  string `json:"example,omitempty"` // as TOML writes it
	Variable string `json:"variable"`
	Label    bool   `json:"label"`   // sections [label.NAME] take it, too
	Restart  bool   `json:"restart"` // a running server does not take a change over
}

func (e *env) configReferenceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "reference [SECTION|KEY]", Short: "Explain the keys of the configuration",
		Long: `Explain every key with its default and an example, as a file that can be used as it stands: all keys are commented out. With the
name of a section or key only that part.`,
		Example: `  callsign config reference > callsign.toml
  callsign config reference ra
  callsign config reference est.client_ca_file`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage(fmt.Errorf("name one section or key, not %d", len(args)))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			text := config.Reference()
			if len(args) == 1 {
				if text = config.ReferenceOf(args[0]); text == "" {
					return unknownKey(referenceKeys(), args[0])
				}
			}
			if e.json {
				return e.referenceJSON(args)
			}
			fmt.Fprint(e.out, text)
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return completeKeys(referenceKeys(), prefix)
		},
	}
	return exits(cmd, exitOK, exitUsage)
}

func (e *env) referenceJSON(args []string) error {
	items := []configDoc{}
	for _, d := range config.Docs() {
		if len(args) == 0 || d.About(args[0]) {
			items = append(items, configDoc(d))
		}
	}
	return e.printJSON(struct {
		Items []configDoc `json:"items"`
		Total int         `json:"total"`
	}{items, len(items)})
}

func entryKeys(entries []config.Entry) []string {
	keys := make([]string, len(entries))
	for i, x := range entries {
		keys[i] = x.Key
	}
	return keys
}

// referenceKeys are the keys that need no file to be known, and the word for those of labels.
func referenceKeys() []string {
	docs := config.Docs()
	keys := make([]string, 0, len(docs)+1)
	for _, d := range docs {
		keys = append(keys, d.Key)
	}
	return append(keys, "label")
}

// completeKeys gives the shell the sections, and the keys of a section once that is written.
func completeKeys(keys []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	words, seen := []cobra.Completion{}, map[string]bool{}
	for _, key := range keys {
		word := key
		if end := strings.LastIndexByte(key, '.'); end > len(prefix) {
			word = key[:end]
		}
		if strings.HasPrefix(word, prefix) && !seen[word] {
			seen[word] = true
			words = append(words, word)
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
