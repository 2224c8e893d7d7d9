package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/chain"
	"callsign/internal/app"
	"callsign/internal/certfile"
	"callsign/internal/cluster"
	"callsign/internal/config"
)

// What cert check finds, the gravest first.
const (
	foundExpired     = "expired"
	foundNotYetValid = "not-yet-valid"
	foundBroken      = "broken"
	foundDue         = "due"
)

// certCheck is the command line of cert check, and what it found.
type certCheck struct {
	clusterFlags

	reader    *certReader
	within    string
	threshold cluster.Threshold
	purpose   string

	checked int
	found   []dueItem
	failed  []error
	at      time.Time
}

// dueItem is a certificate that something has to be done about, in JSON.
type dueItem struct {
	Finding      string `json:"finding"`               // expired, not-yet-valid, broken or due
	Cluster      string `json:"cluster,omitempty"`     // of a certificate of a cluster
	Certificate  string `json:"certificate,omitempty"` // its purpose or trust store
	Distribution string `json:"distribution,omitempty"`
	Source       string `json:"source,omitempty"` // of others: the argument
	CommonName   string `json:"common_name"`
	IssuedBy     string `json:"issued_by"`
	NotBefore    string `json:"not_before"`
	NotAfter     string `json:"not_after"`
	ExpiresIn    int64  `json:"expires_in_seconds"`
	Serial       string `json:"serial"`
	SHA256       string `json:"sha256"`
	Reason       string `json:"reason,omitempty"` // why the path is broken

	until time.Time
}

func (e *env) certCheck() *cobra.Command {
	c := &certCheck{clusterFlags: clusterFlags{env: e}, reader: &certReader{env: e}}
	cmd := &cobra.Command{
		Use: "check [FILE|-|HOST:PORT...]", Short: "Tell which certificates are due, for cron and monitoring",
		Long: `Tell which certificates have expired, will soon, or have no valid path: those of the clusters of the configuration, in service and in trust
stores, or those in files and on live servers. The exit code is 3 when there is something to do, and 0 when there is nothing.

--expires-within is a time (30d, 12h) or a share of the validity (75%), which suits certificates of any length. Of a cluster the records are
checked as well: that every certificate and every request has its key.
` + containers,
		Example: `  callsign cert check --expires-within 75%
  callsign cert check --purpose tomcat --json
  callsign cert check cucm.example.com:8443 cucm.example.com:6972 --expires-within 21d
  callsign cert check /etc/ssl/private/*.pem`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if c.threshold, err = cluster.ParseThreshold(c.within); err != nil {
				return usage(fmt.Errorf("--expires-within %w", err))
			}
			now, err := c.clock()
			if err != nil {
				return err
			}
			if c.at = time.Now(); now != nil {
				c.at = now()
			}
			if len(args) == 0 {
				return c.clusters(cmd.Context(), now)
			}
			for _, flag := range []string{"cluster", "node", "purpose"} {
				if cmd.Flags().Changed(flag) {
					return usage(fmt.Errorf("--%s picks certificates of a cluster; it does not go with files and servers", flag))
				}
			}
			return c.inputs(cmd.Context(), args)
		},
	}
	c.choose(cmd, "only what is on the node with this host `name`")
	c.judgedAt(cmd)
	c.reader.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&c.within, "expires-within", "30d", "due is what ends within this `time`, or has used up this share of its validity: 30d, 12h or 75%")
	f.StringVar(&c.purpose, "purpose", "", "only certificates of this `purpose` or trust store: tomcat, tomcat-trust")
	complete(cmd, "expires-within", "30d", "90d", "75%")
	complete(cmd, "purpose", certificateWords()...)
	f.Lookup("cluster").Usage = "`name` of the cluster (default: all that are configured)"
	return exits(cmd, exitOK, exitFailed, exitUsage, exitFindings, exitPartial, exitUnreachable)
}

// clusters checks the certificates of one cluster or of all.
func (c *certCheck) clusters(ctx context.Context, now func() time.Time) error {
	if err := knownCertificate(c.purpose); err != nil {
		return err
	}
	conf, err := c.env.loadConfig()
	if err != nil {
		return err
	}
	all, err := c.chosen(conf)
	if err != nil {
		return err
	}
	return c.env.withStore(ctx, func(ctx context.Context, r *app.Records) error {
		for _, described := range all {
			s, err := r.Cluster(conf, described.Name)
			if err != nil {
				return err
			}
			s.Now = now
			if err := c.checkCluster(ctx, s); err != nil {
				return err
			}
		}
		return c.report(len(all) > 1)
	})
}

// chosen returns the clusters of --cluster and --node: without them all.
func (c *certCheck) chosen(conf *config.Config) ([]*cluster.Cluster, error) {
	all, err := app.LoadClusters(conf)
	if err != nil {
		return nil, err
	}
	if c.cluster != "" || len(all) == 0 {
		one, err := app.PickCluster(conf, c.cluster)
		if err != nil {
			return nil, err
		}
		all = []*cluster.Cluster{one}
	}
	if c.node == "" {
		return all, nil
	}
	var with []*cluster.Cluster
	for _, one := range all {
		if n, ok := one.Node(c.node); ok {
			c.node = n.Name
			with = append(with, one)
		}
	}
	if len(with) == 0 {
		_, err := (&cluster.Service{Cluster: all[0]}).NodeNamed(c.node) // says which there are
		return nil, err
	}
	return with, nil
}

// checkCluster checks one cluster.
func (c *certCheck) checkCluster(ctx context.Context, s *cluster.Service) error {
	rows, err := s.List(ctx, cluster.Query{Certificate: c.purpose, Node: c.node})
	if err != nil {
		return err
	}
	inService := map[string]bool{}
	for i := range rows {
		r := &rows[i]
		if r.Type == cluster.TypeCSROnly || r.System && inService[r.SHA256] {
			continue // a request has no end; a copy goes with the certificate in service, which comes before it
		}
		if r.Usage == cluster.IdentityUsage {
			inService[r.SHA256] = true
		}
		c.checked++
		finding := c.finding(r.NotBefore, r.NotAfter)
		if r.Broken && (finding == "" || finding == foundDue) {
			finding = foundBroken
		}
		if finding == "" {
			continue
		}
		item := dueItem{
			Finding: finding, Cluster: s.Cluster.Name, Certificate: r.Certificate, Distribution: r.Distribution, CommonName: r.CommonName, IssuedBy: r.IssuedBy,
			NotBefore: utc(r.NotBefore), NotAfter: utc(r.NotAfter), ExpiresIn: int64(r.NotAfter.Sub(c.at).Seconds()), Serial: r.Serial, SHA256: r.SHA256, until: r.NotAfter,
		}
		if r.Broken {
			item.Reason = r.Chain
		}
		c.found = append(c.found, item)
	}
	if err := s.CheckKeys(ctx); err != nil {
		c.failed = append(c.failed, err)
	}
	return nil
}

// finding judges a validity; "" is good.
func (c *certCheck) finding(from, until time.Time) string {
	switch {
	case c.at.After(until):
		return foundExpired
	case c.at.Before(from):
		return foundNotYetValid
	case c.threshold.Due(from, until, c.at):
		return foundDue
	default:
		return ""
	}
}

// inputs checks the certificates in files and on servers.
func (c *certCheck) inputs(ctx context.Context, args []string) error {
	if err := c.reader.open(); err != nil {
		return err
	}
	for _, arg := range args {
		in := c.reader.read(ctx, arg, "", true)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		in.warnKey(c.env)
		if in.err == nil && !in.has(certfile.Certificate) {
			in.err = in.nothing("certificate")
		}
		c.failed = append(c.failed, separate(in.err)...)
		for _, o := range in.objects {
			if o.Certificate == nil {
				continue
			}
			c.checked++
			x := o.Certificate
			finding := c.finding(x.NotBefore, x.NotAfter)
			if finding == "" {
				continue
			}
			c.found = append(c.found, dueItem{
				Finding: finding, Source: arg, CommonName: or(x.Subject.CommonName, x.Subject.String()), IssuedBy: or(x.Issuer.CommonName, x.Issuer.String()),
				NotBefore: utc(x.NotBefore), NotAfter: utc(x.NotAfter), ExpiresIn: int64(x.NotAfter.Sub(c.at).Seconds()), Serial: chain.SerialText(x.SerialNumber),
				SHA256: chain.Of(x).SHA256(), until: x.NotAfter,
			})
		}
	}
	return c.report(false)
}

// report prints what was found and chooses the exit code. several clusters need a column for their names.
func (c *certCheck) report(several bool) error {
	e := c.env
	err := errors.Join(c.failed...)
	switch {
	case e.json:
		items := append([]dueItem{}, c.found...)
		if err := e.printJSON(struct {
			Items   []dueItem `json:"items"`
			Total   int       `json:"total"`
			Checked int       `json:"checked"`
			Within  string    `json:"expires_within"`
		}{items, len(items), c.checked, c.threshold.String()}); err != nil {
			return err
		}
	case len(c.found) > 0:
		if err := c.table(several); err != nil {
			return err
		}
		e.hint("%d of %d certificate%s to look at (--expires-within %s)\n", len(c.found), c.checked, plural(c.checked), c.threshold)
	case c.checked == 0 && err == nil:
		list := "callsign cert list"
		if several {
			list += " --cluster NAME"
		}
		fmt.Fprintln(e.out, "No certificate to check; "+list+c.flagText("")+" says what would bring some.")
	case c.checked > 0:
		fmt.Fprintf(e.out, "OK: %d certificate%s, none is due (--expires-within %s)\n", c.checked, plural(c.checked), c.threshold)
	}
	switch {
	case err != nil && c.checked > 0:
		if _, damaged := errors.AsType[*cluster.Problem](err); damaged {
			return err // records without their keys are worse than what is due
		}
		return &exitError{code: exitPartial, err: err}
	case err != nil:
		return err
	case len(c.found) > 0:
		return &exitError{code: exitFindings}
	default:
		return nil
	}
}

func (c *certCheck) table(several bool) error {
	var header []string
	if several {
		header = append(header, "CLUSTER")
	}
	if c.found[0].Source != "" {
		header = append(header, "SOURCE", "COMMON NAME")
	} else {
		header = append(header, "CERTIFICATE", "COMMON NAME", "DISTRIBUTION")
	}
	header = append(header, "ISSUED BY", "EXPIRES", "IN", "STATE")
	lines := make([][]string, 0, len(c.found))
	for i := range c.found {
		f := &c.found[i]
		var line []string
		if several {
			line = append(line, f.Cluster)
		}
		if f.Source != "" {
			line = append(line, f.Source, f.CommonName)
		} else {
			line = append(line, f.Certificate, or(f.CommonName, "-"), or(f.Distribution, "-"))
		}
		state := strings.ToUpper(strings.ReplaceAll(f.Finding, "-", " "))
		if f.Reason != "" {
			reason, _, _ := strings.Cut(f.Reason, ":")
			state += ", " + reason
			if f.Finding == foundBroken {
				state = "BROKEN: " + reason
			}
		}
		lines = append(lines, append(line, f.IssuedBy, f.until.Local().Format(time.DateOnly), in(f.until, c.at), state))
	}
	return table(c.env.out, header, lines)
}
