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
					Query{`max by (target) (hayloft_target_jobs` + of + `)`, "{{target}}"},
					Query{`max by (target) (hayloft_target_jobs_limit` + of + `)`, "{{target}} limit"}),
				table("Reasons", "Of the condition Ready.", count, `max by (target, reason) (hayloft_target_status_info`+of+`)`),
				table("What is there", "Uploaded bytes of Ready points, after compression.", inBytes, `max by (target) (hayloft_target_uploaded_bytes`+of+`)`),
			}},
			{"Content", []Panel{
				graph("Points", "Ready ones.", count, Query{`max by (target) (hayloft_target_points` + of + `)`, "{{target}}"}),
				graph("Uploaded by present points", "", inBytes, Query{`max by (target) (hayloft_target_uploaded_bytes` + of + `)`, "{{target}}"}),
				graph("Uploaded per hour", "By backups that became Ready.", inBytes,
					Query{`sum by (target) (increase(hayloft_backup_uploaded_bytes_total` + of + `[1h]))`, "{{target}}"}),
			}},
			{"The target worker", []Panel{
				graph("Duration", "Of its runs, over six hours.", seconds, percentiles("hayloft_targetio_duration_seconds", "op")...),
				graph("CPU", "Share of one core.", share, Query{`sum by (op) (rate(hayloft_targetio_cpu_seconds_total[$__rate_interval]))`, "{{op}}"}),
				graph("Failures", "Per hour.", count, Query{`sum by (op, reason) (increase(hayloft_targetio_failures_total[1h]))`, "{{op}} {{reason}}"}),
			}},
		},
	}
}
