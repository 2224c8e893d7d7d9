package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/chain"
	"callsign/internal/app"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

func (e *env) raCommand() *cobra.Command {
	return group("ra", "The registration authority for EST devices", e.raRequest(), e.raProbe())
}

func (e *env) raRequest() *cobra.Command {
	return group("request", "Requests of EST clients: list them, approve or deny those that are held for it",
		e.requestList(), e.requestApprove(), e.requestDeny())
}

// The filters of all requests of EST clients, and of those on which can be decided: held ones, and denied ones, which may be
// approved after all. Among the latter are some that their CA denied.
var (
	clientRequests   = enroll.Filter{OwnerPrefix: "est:"}
	decidable        = enroll.Filter{OwnerPrefix: clientRequests.OwnerPrefix, States: []enroll.State{enroll.Held, enroll.Denied}}
	waitingForPerson = []enroll.State{enroll.Held, enroll.Requested, enroll.Submitted, enroll.Pending}
)

// idDigits is how many digits of an ID people see, unless more are needed.
const idDigits = 8

// shortIDs are the first digits of IDs, as many as tell the rows apart.
func shortIDs(rows []enroll.Enrolment) map[string]string {
	digits := idDigits
	for again := true; again && digits < 32; {
		seen := map[string]bool{}
		again = false
		for i := range rows {
			id := rows[i].ID[:min(digits, len(rows[i].ID))]
			again = again || seen[id]
			seen[id] = true
		}
		if again {
			digits += 4
		}
	}
	short := make(map[string]string, len(rows))
	for i := range rows {
		short[rows[i].ID] = rows[i].ID[:min(digits, len(rows[i].ID))]
	}
	return short
}

// pickRequest finds the request that the first digits of an ID mean: among the rows that can be decided on and, to say what
// became of it, among all.
func (e *env) pickRequest(ctx context.Context, j enroll.Journal, rows []enroll.Enrolment, id string) (enroll.Enrolment, error) {
	id = strings.ToLower(strings.TrimSpace(id))
	found := withPrefix(rows, id)
	if len(found) == 0 && id != "" {
		all, _, err := j.Find(ctx, clientRequests)
		if err != nil {
			return enroll.Enrolment{}, err
		}
		found = withPrefix(all, id)
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0:
		return enroll.Enrolment{}, &fleet.Problem{
			ErrCode: "cli.request", Detail: fmt.Sprintf("no request of an EST client has an ID that begins with %q", id),
			Fix: "look at the list: callsign ra request list" + e.configFlag(),
		}
	default:
		return enroll.Enrolment{}, &fleet.Problem{
			ErrCode: "cli.request", Detail: fmt.Sprintf("%d requests have an ID that begins with %q", len(found), id),
			Fix: "write more digits of it: callsign ra request list --json" + e.configFlag() + " shows them all",
		}
	}
}

func withPrefix(rows []enroll.Enrolment, id string) (found []enroll.Enrolment) {
	for i := range rows {
		if id != "" && strings.HasPrefix(rows[i].ID, id) {
			found = append(found, rows[i])
		}
	}
	return found
}

// longestNote bounds what an administrator writes, in bytes: the client gets it in one line of an answer.
const longestNote = 500

// decisionBy is the decision of the account that runs the command. flag is the one with the note.
func decisionBy(flag, note string) (enroll.Decision, error) {
	note = visible(note)
	if len(note) > longestNote {
		return enroll.Decision{}, usage(fmt.Errorf("--%s has %d bytes: write at most %d", flag, len(note), longestNote))
	}
	return enroll.Decision{By: account(), Note: note}, nil
}

// account names who runs this command: behind sudo the account that called it.
func account() string {
	if name := os.Getenv("SUDO_USER"); name != "" && os.Geteuid() == 0 {
		return visible(name)
	}
	u, err := user.Current()
	if err != nil || u.Username == "" {
		return fmt.Sprintf("uid %d", os.Getuid())
	}
	return visible(u.Username)
}

// decisions runs approve or deny for each request that the arguments mean.
type decisions struct {
	verb   string // "approve"
	done   string // "approved"
	dry    bool
	decide func(ctx context.Context, id string) (enroll.Enrolment, error)
}

// decision is what became of one of them.
type decision struct {
	row    enroll.Enrolment
	result string
}

// The results of decisions, with the verb's own word for what was done.
const resultAlready = "already"

// run decides on the rows that were picked. Whatever fails is said; the others go on.
func (d *decisions) run(ctx context.Context, e *env, picked []enroll.Enrolment) (made []decision, failed []error) {
	for i := range picked {
		row := picked[i]
		already := row.Decision != nil && row.Decision.Approved == (d.verb == "approve")
		possible := row.State == enroll.Held || d.verb == "approve" && row.Rejected()
		switch {
		case already:
			made = append(made, decision{row, resultAlready})
			continue
		case !possible:
			failed = append(failed, e.undecidable(d.done, &row))
			continue
		case d.dry:
			made = append(made, decision{row, "would " + d.verb})
			continue
		}
		next, err := d.decide(ctx, row.ID)
		switch {
		case errors.Is(err, enroll.ErrState): // somebody else did something meanwhile
			failed = append(failed, e.undecidable(d.done, &next))
		case err != nil:
			failed = append(failed, err)
		default:
			made = append(made, decision{next, d.done})
		}
	}
	return made, failed
}

// undecidable says why a request is neither to be approved nor denied.
func (e *env) undecidable(done string, r *enroll.Enrolment) error {
	p := &fleet.Problem{
		ErrCode: "cli.request", Detail: fmt.Sprintf("request %s of %s cannot be %s: it is %s", r.ID[:idDigits], visible(client(r)), done, r.State),
		Fix: "only held requests are decided here: callsign ra request list --state held" + e.configFlag(),
	}
	switch {
	case r.State == enroll.Pending:
		p.Detail = fmt.Sprintf("request %s of %s was not held: the CA keeps it", r.ID[:idDigits], visible(client(r)))
		p.Fix = pendingAt(r)
	case r.Decision != nil && r.Decision.Approved:
		p.Detail += fmt.Sprintf(", approved by %s on %s", r.Decision.By, r.Decision.At.Local().Format(time.DateTime))
		if len(r.Certificate) > 0 {
			p.Fix = fmt.Sprintf("revoke certificate %s at the CA (%s) if the device must not use it", r.Serial, r.Authority)
		}
	case r.State == enroll.Denied && r.Failure != nil:
		p.Detail += fmt.Sprintf(" by the CA (%s)", r.Failure.Code)
		p.Fix = "see why: callsign explain " + r.Failure.Code
	case r.State == enroll.Failed && r.Failure != nil && r.Failure.Code == enroll.CodeNotApproved:
		p.Detail = fmt.Sprintf("request %s of %s is over: %s", r.ID[:idDigits], visible(client(r)), r.Failure.Detail)
		p.Fix = "let the client ask again, and decide then: callsign ra request list" + e.configFlag()
	}
	return p
}

// requestIDs completes the IDs of requests that can be decided on.
func (e *env) requestIDs(rejected bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var words []cobra.Completion
		e.completeFrom(cmd.Context(), func(ctx context.Context, _ *config.Config, s *app.Records) error {
			f := decidable
			f.Limit = completeMost
			rows, _, err := s.Journal.Find(ctx, f)
			short := shortIDs(rows)
			for i := range rows {
				r := &rows[i]
				id := short[r.ID]
				if (r.State == enroll.Held || rejected && r.Rejected()) && strings.HasPrefix(id, strings.ToLower(prefix)) && !has(args, r.ID) {
					words = append(words, cobra.CompletionWithDesc(id, visible(fmt.Sprintf("%s, %s of %s", r.State, chain.NameText(r.Subject), client(r)))))
				}
			}
			return err
		})
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// has tells whether one of the arguments means this ID.
func has(args []string, id string) bool {
	for _, a := range args {
		if a != "" && strings.HasPrefix(id, strings.ToLower(a)) {
			return true
		}
	}
	return false
}
