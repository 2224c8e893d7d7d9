package config

func clusterKeys() []key {
	return []key{
		{
			name: "files", def: []string{}, path: inFile, example: []string{"lab.json"},
			field: func(c *Config) any { return &c.Cluster.Files },
			doc:   "Descriptions of call manager clusters whose certificates are kept here, one JSON file for each: nodes, roles and services (docs/cluster.md).",
		},
		{
			name: "csr_profile", def: ProfileRelease15, check: oneOf(ProfileRelease15, ProfileRelease125, ProfileRelease11),
			field: func(c *Config) any { return &c.Cluster.CSRProfile },
			doc:   "Key usage of requests and self-signed certificates, by the release whose requests they are like: 15, 12.5 or 11. The older ones ask for key encipherment as well.",
		},
		{
			name: "same_name", def: SameSubject, check: oneOf(SameSubject, SameCommonName, SameKeyID),
			field: func(c *Config) any { return &c.Cluster.SameName },
			doc:   "When an uploaded trust certificate replaces an older one: subject (the same subject), cn (the same common name), or keyid (the same subject and key identifier, so that two CAs of one name are kept).",
		},
		{
			name: "eku", def: EKUWarn, check: oneOf(EKUWarn, EKUEnforce),
			field: func(c *Config) any { return &c.Cluster.EKU },
			doc:   "What is done about an uploaded certificate without an extended key usage that was asked for: warn, or enforce to refuse it.",
		},
		{
			name: "messages", def: MessagesCurrent, check: oneOf(MessagesCurrent, MessagesLegacy),
			field: func(c *Config) any { return &c.Cluster.Messages },
			doc:   "Words of a refused upload: current, or legacy for those of older releases, which tell less.",
		},
	}
}
