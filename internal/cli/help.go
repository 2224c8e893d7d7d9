package cli

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"callsign/internal/explain"
)

// helpTemplate is the form of every help page: what the command does, examples, the words and flags, and how it ends.
const helpTemplate = `{{or .Long .Short}}
{{if .Example}}
Examples:
{{.Example}}
{{end}}
Usage:
{{- if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND
{{- else}}
  {{.UseLine}}
{{- end}}
{{if .HasAvailableSubCommands}}
Commands:
{{- range .Commands}}{{if or .IsAvailableCommand (eq .Name "help")}}
  {{rpad .Name .NamePadding}}  {{.Short}}{{end}}{{end}}
{{end}}
{{- if .HasAvailableLocalFlags}}
Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}
{{- if .HasAvailableInheritedFlags}}
Global flags:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}
{{- if .Runnable}}
Environment:
  CALLSIGN_CONFIG, CALLSIGN_LOG_LEVEL, CALLSIGN_LOG_FORMAT   stand for the flags of the same name
  CALLSIGN_SECTION_KEY                                       stands for a key of the configuration: CALLSIGN_EST_LISTEN for est.listen
  CALLSIGN_LANG, else LC_ALL, LC_MESSAGES or LANG            language of explanations
  NO_COLOR                                                   no colour
{{end}}
{{- with index .Annotations "exit codes"}}
Exit codes:
{{.}}
{{end}}
{{- if .HasAvailableSubCommands}}
More about a command: {{.CommandPath}} COMMAND --help
{{end}}`

// flagError is what is said of a flag that does not exist or has a wrong value.
func flagError(cmd *cobra.Command, err error) error {
	unknown, ok := errors.AsType[interface {
		error
		GetSpecifiedName() string
	}](err)
	if !ok || !strings.HasPrefix(err.Error(), "unknown flag") {
		return usage(wrongFlagValue(err))
	}
	word := unknown.GetSpecifiedName()
	names := nearest(word, flagNames(cmd))
	for i := range names {
		names[i] = "--" + names[i]
	}
	return usage(fmt.Errorf("unknown flag --%s%s", word, didYouMean(names)))
}

// badValue is how the flags' module words a value that does not parse.
var badValue = regexp.MustCompile(`^invalid argument ("(?:.*)") for "(?:-., )?(--[a-z-]+)" flag: (.*)$`)

// wrongFlagValue says in plain words what a flag takes, where Go's parsers speak of themselves.
func wrongFlagValue(err error) error {
	m := badValue.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	if m == nil {
		return err
	}
	why := m[3]
	switch {
	case strings.HasPrefix(why, "strconv.ParseBool"):
		why = "use true or false"
	case strings.HasSuffix(why, "value out of range"):
		why = "the number is too large"
	case strings.HasPrefix(why, "strconv.ParseU"):
		why = "use a whole number that is not negative"
	case strings.HasPrefix(why, "strconv."):
		why = "use a whole number"
	case strings.HasPrefix(why, "time: "):
		why = "use a number with its unit, such as 500ms, 30s or 5m"
	}
	return fmt.Errorf("%s %s: %s", m[2], m[1], why)
}

// flagNames reads the long names out of the help, because the type of a flag belongs to another module than cobra.
func flagNames(cmd *cobra.Command) []string {
	var names []string
	for line := range strings.Lines(cmd.LocalFlags().FlagUsages() + cmd.InheritedFlags().FlagUsages()) {
		if _, rest, ok := strings.Cut(line, "--"); ok {
			names = append(names, strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == '[' || r == '\n' })[0])
		}
	}
	return names
}

// didYouMean is the end of a sentence about a word that nobody knows.
func didYouMean(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(words, " or ") + "?"
}

// nearest returns the words that are most like word, when one is like it at all.
func nearest(word string, words []string) []string { return explain.Closest(word, words) }

// complete gives the shell the words that a flag can have.
func complete(cmd *cobra.Command, flag string, words ...string) {
	f := cobra.FixedCompletions(slices.Clone(words), cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // the flag is not there: a fault of this program
	}
}

// shellQuote makes a word safe to copy into a shell.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// helpCommand is `help`, which unlike cobra's own fails for a command that is not there.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]...", Short: "Show the help of a command",
		Example: "  callsign help phone add",
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			found, rest, err := root.Find(args)
			switch {
			case err != nil:
				return usage(err)
			case len(rest) > 0:
				return unknownCommand(found, rest[0])
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
			found, _, err := cmd.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var words []cobra.Completion
			for _, c := range found.Commands() {
				if c.IsAvailableCommand() && strings.HasPrefix(c.Name(), prefix) {
					words = append(words, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// describeCompletion gives cobra's own command our manners.
func describeCompletion(root *cobra.Command) {
	for _, c := range root.Commands() {
		if c.Name() != "completion" {
			continue
		}
		c.Short = "Print the completion script of a shell"
		c.Long = "Print the script that completes commands, flags and names of phones in a shell: bash, zsh, fish or powershell."
		c.Example = "  source <(callsign completion bash)\n  callsign completion zsh > \"${fpath[1]}/_callsign\"\n  callsign completion fish | source"
		c.Args, c.RunE = cobra.ArbitraryArgs, groupRun
	}
}
