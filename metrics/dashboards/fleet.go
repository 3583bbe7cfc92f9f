package dashboards

var namespaces = Variable{
	Name: "namespace", Label: "Namespace", Several: true, Query: "label_values(hayloft_vm_protection_info, namespace)",
}

// fleet is what there is to see of all VMs.
func fleet() Dashboard {
	return Dashboard{
		Name: "fleet", Title: "Fleet", Description: "Whether all VMs are protected, and what becomes of backups and restores.",
		Variables: []Variable{namespaces},
		Rows: []Row{
			{"Protection", []Panel{
				number("VMs", "All VirtualMachines.", count,
					`count(max by (namespace, vm) (hayloft_vm_protection_info{namespace=~"$namespace"}))`),
				number("Protected", "They have a good point, and a schedule that makes more.", count,
					`count(max by (namespace, vm) (hayloft_vm_protection_info{namespace=~"$namespace", state="Protected"})) or vector(0)`),
				number("Unprotected", "They have no good point, or no schedule that is not suspended. A new VM is among them until its first run.", count,
					`count(max by (namespace, vm) (hayloft_vm_protection_info{namespace=~"$namespace", state=~"NoPoint|NoSchedule"})) or vector(0)`),
				number("Oldest last good point", "The age of the newest good point of the VM that has waited longest. What it wrote since would be lost with it.", seconds,
					`time() - min(max by (namespace, vm) (hayloft_vm_last_good_point_timestamp_seconds{namespace=~"$namespace"}))`),
				number("Schedules suspended", "By whomever; they make no points.", count,
					`count(max by (namespace, schedule) (hayloft_schedule_status_info{namespace=~"$namespace", state!="Active"})) or vector(0)`),
				number("Points failed in 24 h", "Cancelled ones among them.", count,
					`sum(increase(hayloft_point_failures_total[24h])) or vector(0)`),
				graph("VMs by protection", "NoPoint: never a good point. NoSchedule: nobody makes more.", count,
					Query{`count by (state) (max by (namespace, vm, state) (hayloft_vm_protection_info{namespace=~"$namespace"}))`, "{{state}}"}),
				graph("Age of last good points", "How old the newest good points of VMs are: of half of them at most the lower, of the worst the upper line.", seconds,
					Query{`time() - quantile(0.5, max by (namespace, vm) (hayloft_vm_last_good_point_timestamp_seconds{namespace=~"$namespace"}))`, "median"},
					Query{`time() - min(max by (namespace, vm) (hayloft_vm_last_good_point_timestamp_seconds{namespace=~"$namespace"}))`, "worst"}),
				graph("Schedules", "By state.", count,
					Query{`count by (state) (max by (namespace, schedule, state) (hayloft_schedule_status_info{namespace=~"$namespace"}))`, "{{state}}"}),
				graph("Runs of schedules", "Failing: schedules whose last run failed. Missed: runs that nobody could begin. Skipped: the one before was still going.", count,
					Query{`count(max by (namespace, schedule) (hayloft_schedule_consecutive_failures{namespace=~"$namespace"})) or vector(0)`, "failing"},
					Query{`sum(max by (namespace, schedule) (hayloft_schedule_missed_runs{namespace=~"$namespace"})) or vector(0)`, "missed"},
					Query{`sum(max by (namespace, schedule) (hayloft_schedule_skipped_runs{namespace=~"$namespace"})) or vector(0)`, "skipped"}),
				table("VMs with the oldest last good point", "The twenty that would lose most.", seconds,
					`topk(20, time() - max by (namespace, vm) (hayloft_vm_last_good_point_timestamp_seconds{namespace=~"$namespace"}))`),
				table("Unprotected VMs", "The label hayloft.dev/protection=none takes one out.", count,
					`max by (namespace, vm, state) (hayloft_vm_protection_info{namespace=~"$namespace", state=~"NoPoint|NoSchedule"})`),
			}},
			{"Points", []Panel{
				graph("Points by phase", "Failed ones stay until retention or somebody removes them.", count,
					Query{`sum by (type, phase) (hayloft_points)`, "{{type}} {{phase}}"}),
				graph("Ready points by consistency", "Frozen and Offline are what a guest calls clean; the others are what a power cut leaves.", count,
					Query{`sum by (consistency) (hayloft_points_ready)`, "{{consistency}}"}),
				graph("Failed points by reason", "Per hour.", count,
					Query{`sum by (type, reason) (increase(hayloft_point_failures_total[1h]))`, "{{type}} {{reason}}"}),
				graph("Duration of points", "From start to Ready or Failed, over six hours.", seconds, percentiles("hayloft_point_duration_seconds", "type")...),
				graph("Data moved", "By engines, as their progress tells; before compression.", byteRate,
					Query{`sum by (type) (rate(hayloft_agent_moved_bytes_total[$__rate_interval]))`, "{{type}}"}),
				graph("Read and uploaded", "By backups that became Ready, per hour. Their relation is what deduplication and compression save.", inBytes,
					Query{`sum(increase(hayloft_backup_read_bytes_total[1h]))`, "read"},
					Query{`sum(increase(hayloft_backup_uploaded_bytes_total[1h]))`, "uploaded"}),
			}},
			{"Restores", []Panel{
				graph("Restores by phase", "", count, Query{`sum by (phase) (hayloft_restores)`, "{{phase}}"}),
				graph("Duration of restores", "From start to Ready or Failed, over six hours.", seconds, percentiles("hayloft_restore_duration_seconds", "kind")...),
				graph("Failed restores by reason", "Per hour.", count,
					Query{`sum by (kind, reason) (increase(hayloft_restore_failures_total[1h]))`, "{{kind}} {{reason}}"}),
			}},
			{"Queue", []Panel{
				graph("Jobs", "Pending ones wait for an agent.", count, Query{`sum by (type, state) (hayloft_jobs)`, "{{type}} {{state}}"}),
				graph("Oldest wait in the queue", "Grows without an end only when nothing moves.", seconds,
					Query{`max(hayloft_queue_oldest_wait_seconds)`, "oldest wait"}),
				graph("Wait until an agent begins", "Over six hours.", seconds, percentiles("hayloft_job_wait_seconds", "type")...),
				graph("Failed jobs by reason", "Per hour. Most are followed by another attempt.", count,
					Query{`sum by (type, reason) (increase(hayloft_job_failures_total[1h]))`, "{{type}} {{reason}}"}),
				graph("Further attempts", "Per hour.", count, Query{`sum by (type) (increase(hayloft_retries_total[1h]))`, "{{type}}"}),
				graph("Space of snapshots against quotas", "Share of the limit that is used.", share,
					Query{`max by (namespace, quota) (hayloft_quota_used_bytes{namespace=~"$namespace"}) / max by (namespace, quota) (hayloft_quota_limit_bytes)`, "{{namespace}}/{{quota}}"}),
			}},
		},
	}
}
