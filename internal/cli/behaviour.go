package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"callsign/internal/enterprise"
)

// behaviourFlag adds --behaviour, a list of words, with the completion of its last word.
func behaviourFlag(cmd *cobra.Command, to *string, words []enterprise.Word) {
	const flag = "behaviour"
	cmd.Flags().StringVar(to, flag, "", "what goes wrong: `WORDS` of the list above, with commas between them")
	complete := func(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		before, last := "", typed
		if i := strings.LastIndexByte(typed, ','); i >= 0 {
			before, last = typed[:i+1], typed[i+1:]
		}
		var found []cobra.Completion
		for _, w := range words {
			if name := w.Name; strings.HasPrefix(name, last) {
				if strings.HasPrefix(w.Value, "=") {
					name += "="
				}
				found = append(found, cobra.CompletionWithDesc(before+name, w.Meaning))
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // the flag is not there: a fault of this program
	}
}

// wordList explains the words of a behaviour list, one a line.
func wordList(words []enterprise.Word) string {
	var b strings.Builder
	for _, w := range words {
		fmt.Fprintf(&b, "  %-20s  %s\n", w, w.Meaning)
	}
	return strings.TrimRight(b.String(), "\n")
}

// badBehaviour is a list of words that cannot be read, as a wrong command line.
func badBehaviour(list string, err error) error {
	return &exitError{code: exitUsage, err: fmt.Errorf("--behaviour %s cannot be read: %w", list, err)}
}
