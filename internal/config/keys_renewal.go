package config

func renewalKeys() []key {
	return []key{
		{
			name: "enabled", def: false, shown: always,
			field: func(c *Config) any { return &c.Renewal.Enabled },
			doc:   "Set Install/Upgrade for phones whose LSC is due for renewal. The phone gets it when it calls: at a reset or when its configuration is applied.",
		},
		{
			name: "percent", def: 67, check: between(1, 99),
			field: func(c *Config) any { return &c.Renewal.Percent },
			doc:   "Share of an LSC's lifetime after which it is due, 1 to 99 percent.",
		},
		{
			name: "days_before", def: 0, check: between(0, 1825),
			field: func(c *Config) any { return &c.Renewal.DaysBefore },
			doc:   "Days before its end at which an LSC is due instead, 0 to 1825. 0: percent counts.",
		},
		{
			name: "spread_days", def: 30, check: between(0, 365),
			field: func(c *Config) any { return &c.Renewal.SpreadDays },
			doc:   "Over how many days after that phones are spread that got their LSC on one day, 0 to 365.",
		},
		{
			name: "per_hour", def: 500, check: between(0, 1_000_000),
			field: func(c *Config) any { return &c.Renewal.PerHour },
			doc:   "Phones scheduled in an hour at most, evenly over its minutes. 0: no limit.",
		},
		{
			name: "windows", def: []string{}, check: windows, whole: true, example: []string{"Mo-Fr 22:00-05:00", "Sa,Su 00:00-24:00"},
			field: func(c *Config) any { return &c.Renewal.Windows },
			doc:   "Maintenance windows in which phones are scheduled. Empty: at any time.",
		},
		{
			name: "zone", def: "Local", check: zone, example: "Europe/Paris",
			field: func(c *Config) any { return &c.Renewal.Zone },
			doc:   "Time zone of the windows: Local, UTC or a name such as Asia/Seoul.",
		},
		{
			name: "fallback", def: FallbackNone, check: oneOf(FallbackNone, FallbackMIC, FallbackString, FallbackNull), shown: renews,
			field: func(c *Config) any { return &c.Renewal.Fallback },
			doc:   "How a phone authenticates whose LSC has expired: mic (its MIC), string (a string is generated, see callsign phone strings), null (no proof at all), or none (an administrator decides).",
		},
		{
			name: "retry_hours", def: 24, check: between(1, 8760),
			field: func(c *Config) any { return &c.Renewal.RetryHours },
			doc:   "After how many hours a renewal that failed is set again, 1 to 8760.",
		},
	}
}

// renews tells that the schedule of renewals is on.
func renews(c *Config) bool { return c.Renewal.Enabled }
