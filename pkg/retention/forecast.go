package retention

import "time"

// Forecast is what is held after runs at given times, each of which makes a good
// point that name calls: the verdicts on what stays, the newest first. held is
// what there is before; it ages with the runs.
func Forecast(p Policy, held []Point, runs []time.Time, name func(time.Time) string) []Verdict {
	verdicts := kept(Plan(p, held))
	for _, run := range runs {
		points := []Point{{Name: name(run), Time: run, State: Good}}
		for _, v := range verdicts {
			points = append(points, v.Point)
		}
		verdicts = kept(Plan(p, points))
	}
	return verdicts
}

func kept(verdicts []Verdict) []Verdict {
	var out []Verdict
	for _, v := range verdicts {
		if v.Keep {
			out = append(out, v)
		}
	}
	return out
}
