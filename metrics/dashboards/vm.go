package dashboards

// oneVM is what there is to see of one VM.
func oneVM() Dashboard {
	const of = `{namespace="$namespace", vm="$vm"}`
	return Dashboard{
		Name: "vm", Title: "VM", Description: "The points of one VM: how old, how large, how long they took.",
		Variables: []Variable{
			{Name: "namespace", Label: "Namespace", Query: "label_values(hayloft_vm_protection_info, namespace)"},
			{Name: "vm", Label: "VM", Query: `label_values(hayloft_vm_protection_info{namespace="$namespace"}, vm)`},
		},
		Rows: []Row{
			{"Now", []Panel{
				number("Age of the last good point", "Of whatever type.", seconds, `time() - max(hayloft_vm_last_good_point_timestamp_seconds`+of+`)`),
				number("Good points", "", count, `sum(max by (type) (hayloft_vm_points`+of+`))`),
				number("Last duration", "Of the newest good point, from start to Ready.", seconds, `max(hayloft_vm_last_good_point_duration_seconds`+of+`)`),
				number("Last upload", "What the newest good backup wrote to its target.", inBytes, `max(hayloft_vm_last_good_point_uploaded_bytes`+of+`)`),
				number("Uploaded by all backups", "That are still there, after compression.", inBytes, `max(hayloft_vm_uploaded_bytes`+of+`)`),
				number("Since the last failure", "No value: no point of the VM has failed that is still there.", seconds, `time() - max(hayloft_vm_last_failure_timestamp_seconds`+of+`)`),
				table("State", "", count, `max by (state) (hayloft_vm_protection_info`+of+`)`),
				table("Last failures", "How long ago, by reason. The VMBackup's condition Ready says more.", seconds,
					`time() - max by (type, reason) (hayloft_vm_last_failure_timestamp_seconds`+of+`)`),
			}},
			{"Over time", []Panel{
				graph("Age of the last good point", "A saw: each good point takes it back to nothing.", seconds,
					Query{`time() - max by (type) (hayloft_vm_last_good_point_timestamp_seconds` + of + `)`, "{{type}}"},
					Query{`time() - max by (schedule) (hayloft_schedule_last_good_point_timestamp_seconds` + of + `)`, "schedule {{schedule}}"}),
				graph("Duration", "Of the newest good point.", seconds, Query{`max by (type) (hayloft_vm_last_good_point_duration_seconds` + of + `)`, "{{type}}"}),
				graph("Upload", "Of the newest good backup.", inBytes, Query{`max by (type) (hayloft_vm_last_good_point_uploaded_bytes` + of + `)`, "{{type}}"}),
				graph("Good points", "", count, Query{`max by (type) (hayloft_vm_points` + of + `)`, "{{type}}"}),
				graph("Uploaded by all backups", "", inBytes, Query{`max by (type) (hayloft_vm_uploaded_bytes` + of + `)`, "{{type}}"}),
				graph("Space of snapshots", "Where a SnapshotQuota limits it for this VM.", inBytes,
					Query{`max by (quota) (hayloft_quota_vm_used_bytes` + of + `)`, "{{quota}} used"},
					Query{`max by (quota) (hayloft_quota_vm_limit_bytes` + of + `)`, "{{quota}} limit"}),
			}},
		},
	}
}
