package app

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
	"callsign/internal/cluster/upload"
	"callsign/internal/config"
	"callsign/internal/fleet"
	"callsign/internal/secret"
)

// LoadClusters reads the descriptions of clusters that a configuration names. Their names are different, without regard to
// case. Errors are *cluster.Problem.
func LoadClusters(c *config.Config) ([]*cluster.Cluster, error) {
	var all []*cluster.Cluster
	for _, path := range c.Cluster.Files {
		found, err := cluster.Load(path)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(o *cluster.Cluster) bool { return strings.EqualFold(o.Name, found.Name) }) {
			return nil, &cluster.Problem{
				ErrCode: cluster.CodeDescription, Detail: fmt.Sprintf("%s: the name %q is that of another cluster of the configuration", path, found.Name),
				Fix: "give each cluster a name of its own, or take one of the files out of cluster.files",
			}
		}
		all = append(all, found)
	}
	return all, nil
}

// PickCluster returns the cluster of a name, without regard to case; "" is the only one. Errors are *cluster.Problem.
func PickCluster(c *config.Config, name string) (*cluster.Cluster, error) {
	all, err := LoadClusters(c)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, &cluster.Problem{
			ErrCode: cluster.CodeNone, Detail: "no cluster is configured in " + c.Path,
			Fix: `describe the nodes in a file, as docs/cluster.md shows, and name it in the configuration: [cluster] files = ["lab.json"]`,
		}
	}
	var names []string
	for _, found := range all {
		if strings.EqualFold(found.Name, name) || name == "" && len(all) == 1 {
			return found, nil
		}
		names = append(names, found.Name)
	}
	detail := fmt.Sprintf("no cluster %q is configured", name)
	if name == "" {
		detail = fmt.Sprintf("%d clusters are configured", len(all))
	}
	return nil, &cluster.Problem{ErrCode: cluster.CodeUnknown, Detail: detail, Fix: "choose one with --cluster: " + strings.Join(names, ", ")}
}

// UploadPolicy is how the configuration wants uploads to be judged.
func UploadPolicy(c *config.Config) upload.Policy {
	return upload.Policy{
		SameName: upload.SameName(c.Cluster.SameName), EKU: upload.EKU(c.Cluster.EKU), Profile: purpose.Profile(c.Cluster.CSRProfile),
		Legacy: c.Cluster.Messages == config.MessagesLegacy,
	}
}

// Cluster returns the service for the cluster of a name; "" is the only one that is configured. A database that other accounts
// can read is refused (*secret.FileError): the private keys are in it.
func (r *Records) Cluster(c *config.Config, name string) (*cluster.Service, error) {
	found, err := PickCluster(c, name)
	if err != nil {
		return nil, err
	}
	if err := secret.CheckFile(r.store.Path()); err != nil {
		return nil, err
	}
	return &cluster.Service{Cluster: found, Store: r.Clusters, Policy: UploadPolicy(c), LSCs: r.lscs}, nil
}

// lscs counts the phones with an LSC of an issuer.
func (r *Records) lscs(ctx context.Context, issuer *x509.Certificate) (int, error) {
	_, n, err := r.Phones.Devices(ctx, fleet.Query{IssuerID: fleet.IssuerID(issuer.Raw), Limit: 1})
	return n, err
}
