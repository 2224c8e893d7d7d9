package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/config"
	"callsign/internal/fleet"
)

func (e *env) phoneCommand() *cobra.Command {
	return group("phone", "The phones: add, list, show, report, set the certificate operation",
		e.phoneAdd(), e.phoneSet(), e.phoneList(), e.phoneShow(), e.phoneImport(), e.phoneExport(),
		e.phoneReport(), e.phoneStrings())
}

func (e *env) unknownPhone(name string) error {
	return &fleet.Problem{
		ErrCode: "fleet.unknown-device", Detail: fmt.Sprintf("no phone %q is configured", name),
		Fix: "look for it with: callsign phone list" + e.configFlag() + ", or add it with: callsign phone add " + shellQuote(name) + " --operation install" + e.configFlag(),
	}
}

// names are the arguments, with - replaced by the words of stdin, in capitals and each once.
func (e *env) names(args []string) ([]string, error) {
	var names []string
	seen := map[string]bool{}
	add := func(name string) {
		if name = strings.ToUpper(name); !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, a := range args {
		if a != "-" {
			add(a)
			continue
		}
		sc := bufio.NewScanner(e.in)
		sc.Split(bufio.ScanWords)
		for sc.Scan() {
			add(sc.Text())
		}
		if err := sc.Err(); err != nil {
			return nil, fmt.Errorf("read names from stdin: %w", err)
		}
	}
	if len(names) == 0 {
		return nil, usage(errors.New("stdin names no phone; write one name a line"))
	}
	return names, nil
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// configFlag repeats --config in a command to copy, when it is not the default.
func (e *env) configFlag() string {
	if e.config == "callsign.toml" {
		return ""
	}
	return " --config " + shellQuote(e.config)
}

// How long a shell waits for names, and how many it gets.
const (
	completeWithin = 500 * time.Millisecond
	completeMost   = 500
)

// phoneNames completes the names of phones, at most limit of them (0: any number).
func (e *env) phoneNames(limit int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []cobra.Completion
		e.completeFrom(cmd.Context(), func(ctx context.Context, _ *config.Config, s *app.Records) error {
			prefix = strings.ToUpper(prefix)
			devices, _, err := s.Phones.Devices(ctx, fleet.Query{After: prefix, Limit: completeMost})
			if whole, err := s.Phones.Device(ctx, prefix); err == nil {
				devices = append([]fleet.Device{whole}, devices...)
			}
			for _, d := range devices {
				if strings.HasPrefix(d.Name, prefix) && !slices.Contains(args, d.Name) {
					names = append(names, cobra.CompletionWithDesc(d.Name, stateSentence(d, nil)))
				}
			}
			return err
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFrom lets do look for words in the records of the configuration, for as long as a shell waits. Completing a word makes no
// database, and what goes wrong shows when the command runs.
func (e *env) completeFrom(ctx context.Context, do func(context.Context, *config.Config, *app.Records) error) {
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	c, err := config.Load(e.config)
	if err != nil {
		return
	}
	if _, err := os.Stat(c.Store.Path); err != nil {
		return
	}
	_ = withRecords(ctx, c, func(ctx context.Context, r *app.Records) error { return do(ctx, c, r) })
}

// withStore opens the records named by the configuration for one command.
func (e *env) withStore(ctx context.Context, do func(context.Context, *app.Records) error) error {
	c, err := e.loadConfig()
	if err != nil {
		return err
	}
	return withRecords(ctx, c, do)
}

// withRecords is withStore for a configuration that was read already.
func withRecords(ctx context.Context, c *config.Config, do func(context.Context, *app.Records) error) error {
	r, err := app.OpenRecords(ctx, c)
	if err != nil {
		return err
	}
	err = do(ctx, r)
	if closed := r.Close(); closed != nil {
		return errors.Join(err, closed)
	}
	return err // as it is, with the exit code that it chose
}
