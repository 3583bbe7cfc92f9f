package dashboards

// targets is what there is to see of targets, and what looking at them costs.
func targets() Dashboard {
	const of = `{target=~"$target"}`
	return Dashboard{
		Name: "targets", Title: "Targets", Description: "Whether targets can be used, what is on them, and what looking at them costs.",
		Variables: []Variable{
			{Name: "target", Label: "Target", Several: true, Query: "label_values(hayloft_target_ready, target)"},
		},
		Rows: []Row{
			{"Reach", []Panel{
				graph("Ready", "1 while probes are good.", count, Query{`max by (target) (hayloft_target_ready` + of + `)`, "{{target}}"}),
				graph("Since the last probe", "A probe that goes well is made every five minutes.", seconds,
					Query{`time() - max by (target) (hayloft_target_last_probe_timestamp_seconds` + of + `)`, "{{target}}"}),
				graph("Transfers", "In flight, against the target's limit.", count,
					Query{`max by (target) (hayloft_target_jobs` + of + `) or max by (target) (hayloft_target_jobs_limit` + of + ` * 0)`, "{{target}}"},
					Query{`max by (target) (hayloft_target_jobs_limit` + of + `)`, "{{target}} limit"}),
				table("Reasons", "Of the condition Ready.", count, `max by (target, reason) (hayloft_target_status_info`+of+`)`),
				table("What is there", "Uploaded bytes of Ready points, after compression.", inBytes, `max by (target) (hayloft_target_uploaded_bytes`+of+`)`),
			}},
			{"Content", []Panel{
				graph("Points", "Ready ones.", count, Query{`max by (target) (hayloft_target_points` + of + `)`, "{{target}}"}),
				graph("Uploaded by present points", "", inBytes, Query{`max by (target) (hayloft_target_uploaded_bytes` + of + `)`, "{{target}}"}),
				graph("Leftovers", "As the last look for them found, and those that could be removed.", count,
					Query{`max by (target, kind) (hayloft_target_leftovers` + of + `)`, "{{target}} {{kind}}"},
					Query{`max by (target) (hayloft_target_leftovers_removable` + of + `)`, "{{target}} removable"}),
				graph("Uploaded per hour", "By backups that became Ready.", inBytes,
					Query{`sum by (target) (increase(hayloft_backup_uploaded_bytes_total` + of + `[1h]))`, "{{target}}"}),
			}},
			{"Refresh", []Panel{
				graph("Interval", "In effect, beside what the spec asks for (0: nothing, -1: Never).", seconds,
					Query{`max by (target) (hayloft_refresh_interval_seconds` + of + `)`, "{{target}}"},
					Query{`max by (target) (hayloft_refresh_configured_interval_seconds` + of + `)`, "{{target}} configured"}),
				graph("CPU within an hour", "Share of one core, and its limit.", share,
					Query{`max by (target) (hayloft_refresh_duty_cycle_ratio` + of + `)`, "{{target}}"},
					Query{`max by (target) (hayloft_refresh_duty_cycle_limit_ratio` + of + `)`, "{{target}} limit"}),
				graph("CPU of refreshes", "Share of one core.", share, Query{`sum by (target) (rate(hayloft_refresh_cpu_seconds_total` + of + `[$__rate_interval]))`, "{{target}}"}),
				graph("Requests per hour", "To the target.", count, Query{`sum by (target) (increase(hayloft_refresh_requests_total` + of + `[1h]))`, "{{target}}"}),
				graph("Duration", "Over six hours.", seconds, percentiles("hayloft_refresh_duration_seconds", "target")...),
				graph("Since the last whole listing", "", seconds, Query{`time() - max by (target) (hayloft_refresh_last_success_timestamp_seconds` + of + `)`, "{{target}}"}),
				graph("Documents", "What this cluster makes of them.", count, Query{`max by (target, state) (hayloft_refresh_points` + of + `)`, "{{target}} {{state}}"}),
				graph("Failures", "Per hour.", count, Query{`sum by (target, reason) (increase(hayloft_refresh_failures_total` + of + `[1h])) or vector(0)`, "{{target}} {{reason}}"}),
				graph("Held back", "Per hour: due and not begun, longer intervals than asked for, loops that were stopped.", count,
					Query{`sum by (target, reason) (increase(hayloft_refresh_skipped_total` + of + `[1h])) or vector(0)`, "{{target}} skipped: {{reason}}"},
					Query{`sum by (target) (increase(hayloft_refresh_clamped_total` + of + `[1h])) or vector(0)`, "{{target}} longer"},
					Query{`sum by (target) (increase(hayloft_refresh_loops_detected_total` + of + `[1h]))`, "{{target}} loop"}),
				graph("Harvester's and Longhorn's own interval", "-1: absent. Below 60 s it can keep a core busy.", seconds,
					Query{`max by (kind) (hayloft_harvester_refresh_interval_seconds)`, "{{kind}}"}),
				graph("Their misconfigurations", "1: to be corrected; and corrections per hour.", count,
					Query{`max by (kind) (hayloft_harvester_refresh_misconfigured)`, "{{kind}}"},
					Query{`sum(increase(hayloft_harvester_refresh_healed_total[1h]))`, "corrected"}),
			}},
			{"The target worker", []Panel{
				graph("Duration", "Of its runs, over six hours.", seconds, percentiles("hayloft_targetio_duration_seconds", "op")...),
				graph("CPU", "Share of one core.", share, Query{`sum by (op) (rate(hayloft_targetio_cpu_seconds_total[$__rate_interval]))`, "{{op}}"}),
				graph("Failures", "Per hour.", count, Query{`sum by (op, reason) (increase(hayloft_targetio_failures_total[1h]))`, "{{op}} {{reason}}"}),
			}},
		},
	}
}
