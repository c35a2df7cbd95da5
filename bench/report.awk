# SPDX-License-Identifier: GPL-2.0
#
# Makes a table in Markdown of the CSV that bench/run collects, and below it
# says of each required figure whether our kernel has it.
#
#   awk -f report.awk results.csv
#
# Exit status: 0 all figures that could be checked are there, 1 one is missed,
# 3 a measurement is not valid (then nothing else counts).

BEGIN {
	FS = ","
	wanted_mode["livepatch"] = "settled"
	wanted_mode["livepatch+fentry"] = "fused"
	wanted_mode["livepatch+fexit"] = "fused"
	wanted_mode["livepatch+kprobe"] = "listed"
	wanted_mode["livepatch+tracer"] = "listed"
	wanted_mode["livepatch+tracer+fentry"] = "listed"
	wanted_mode["livepatch+held"] = "solo"
	wanted_mode["livepatch+held+fentry"] = "paired"
	wanted_mode["livepatch+held+fexit"] = "paired"
	wanted_mode["livepatch+held+tracer+fentry"] = "listed"
}

NR == 1 { next }

NF == 4 {
	add(operations, $3)
	operation[$1, $3] = $4
	next
}

{
	kernel = $1; count = $2; row = $3
	add(kernels, kernel); add(counts, count); add(rows, row)
	mode[kernel, row] = $12
	cost[kernel, row, count] = ($5 - $6) / $4
	validate()
}

# add(): append to a list that has each element once, list[0] is the length.
function add(list, element,	i) {
	for (i = 1; i <= list[0]; i++)
		if (list[i] == element)
			return
	list[++list[0]] = element
}

function invalid(what) {
	problems[++problems[0]] = sprintf("%s, %s, %d functions: %s",
					  kernel, row, count, what)
}

# Does the TSC count instructions, did the right version run, was nobody left
# out or called twice, is an untraced call as cheap as that of the twin?
function validate(	parts, n, i, hits) {
	if ($9 != 200000)
		invalid(sprintf("a loop of 200000 instructions counts as %d", $9))
	if ($10 != (row ~ /livepatch|replacement/ ? 3 : 7))
		invalid("the function returned " $10)
	n = split(row, parts, "+")
	for (i = 1; i <= n; i++)
		hits += parts[i] !~ /^(untraced|livepatch|held|replacement)$/
	if ($11 != hits * 100)
		invalid(sprintf("100 calls, but %d were seen by those attached instead of %d",
				$11, hits * 100))
	if (kernel == "ours" && row in wanted_mode && $12 != wanted_mode[row])
		invalid("the site is " $12)
	if (row == "untraced" && cost[kernel, row, count] != 0)
		invalid("an untraced call costs more than none")
}

function name(row) {
	if (row == "replacement+fentry")
		return "livepatch, fentry on the replacement"
	if (row == "livepatch+held")
		return "livepatch alone, held at paired"
	if (sub(/held[+]/, "", row))
		return name(row) ", held at paired"
	if (row ~ /^(fentry|fexit|kprobe|tracer|livepatch)$/)
		return row " alone"
	gsub(/[+]/, " + ", row)
	return row
}

function thousands(n,	s) {
	s = sprintf("%.1f", n)
	while (match(s, /[0-9][0-9][0-9][0-9]([.,]|$)/))
		s = substr(s, 1, RSTART) "," substr(s, RSTART + 1)
	sub(/\.0$/, "", s)
	return s
}

function print_table(	head, rule, line, i, k, c, key) {
	head = "| instructions per call above untraced, by livepatched functions in the system |"
	rule = "|---|"
	for (k = 1; k <= kernels[0]; k++)
		for (c = 1; c <= counts[0]; c++) {
			head = head " " kernels[k] " " counts[c] " |"
			rule = rule "---:|"
		}
	print head
	print rule
	for (i = 1; i <= rows[0]; i++) {
		line = "| " name(rows[i]) \
		       (("ours", rows[i]) in mode && mode["ours", rows[i]] != "-" ? \
			" (`" mode["ours", rows[i]] "`)" : "") " |"
		for (k = 1; k <= kernels[0]; k++)
			for (c = 1; c <= counts[0]; c++) {
				key = kernels[k] SUBSEP rows[i] SUBSEP counts[c]
				line = line " " (key in cost ? thousands(cost[key]) : "") " |"
			}
		print line
	}
}

function operation_name(row) {
	if (row == "enabling")
		return "enabling a livepatch of 400 functions"
	if (row == "enabling+shared")
		return "enabling it, all 400 with a fentry program"
	if (row == "memory")
		return "memory of that, KiB"
	if (row == "memory+programs")
		return "memory of the 400 trampolines before, KiB"
	sub(/attaching[+]/, "", row)
	return "attaching a " row " program to a livepatched function"
}

function print_operations(	i, stock, ours) {
	if (!operations[0])
		return
	print "\n| whole operation, instructions | stock | ours | ours / stock |"
	print "|---|---:|---:|---:|"
	for (i = 1; i <= operations[0]; i++) {
		stock = operation["stock", operations[i]]
		ours = operation["ours", operations[i]]
		printf "| %s | %s | %s | %s |\n", operation_name(operations[i]),
		       stock != "" ? thousands(stock) : "", ours != "" ? thousands(ours) : "",
		       stock && ours != "" ? sprintf("%.3f", ours / stock) : ""
	}
}

# Ours is at most so many times stock's, to the digit that the limit is given in.
function at_most_times(row, limit, digits,	ratio) {
	if (!(("stock", row) in operation) || !(("ours", row) in operation)) {
		not_measured(operation_name(row))
		return
	}
	ratio = operation["ours", row] / operation["stock", row]
	verdict(sprintf("%." digits "f", ratio) + 0 <= limit,
		operation_name(row) " costs at most " limit " times as much as on stock",
		sprintf("%.3f", ratio))
}

function verdict(ok, what, figures) {
	printf "- %s: %s (%s)\n", ok ? "ok" : "**MISSED**", what, figures
	missed += !ok
}

# Who asks for all rows (-v whole=1) misses what a row that is not there is required for.
function not_measured(what) {
	if (whole)
		verdict(0, what " is measured", "it was not")
}

function seen(kernel, row,	c) {
	for (c = 1; c <= counts[0]; c++)
		if (!((kernel, row, counts[c]) in cost)) {
			not_measured(name(row) " on " kernel)
			return 0
		}
	return 1
}

# Over all numbers of functions: sets lowest and highest of a row on ours.
function range(row,	c, n) {
	for (c = 1; c <= counts[0]; c++) {
		n = cost["ours", row, counts[c]]
		if (c == 1 || n < lowest)
			lowest = n
		if (c == 1 || n > highest)
			highest = n
	}
}

function at_most(row, limit) {
	if (!seen("ours", row))
		return
	range(row)
	verdict(highest <= limit, name(row) " costs at most " thousands(limit),
		thousands(highest))
}

function flat(row, percent) {
	if (!seen("ours", row) || counts[0] < 2)
		return
	range(row)
	verdict(highest <= lowest * (1 + percent / 100),
		sprintf("%s is the same within %d %% from %d to %d functions",
			name(row), percent, counts[1], counts[counts[0]]),
		thousands(lowest) " to " thousands(highest))
}

# Ours minus stock is between low and high for each number of functions.
function beside_stock(row, low, high, what,	c, n, ok, figures) {
	if (!seen("ours", row) || !seen("stock", row))
		return
	ok = 1
	for (c = 1; c <= counts[0]; c++) {
		n = cost["ours", row, counts[c]] - cost["stock", row, counts[c]]
		ok = ok && n >= low && n <= high
		figures = figures (c > 1 ? ", " : "") sprintf("%+.1f", n)
	}
	verdict(ok, name(row) " costs " what, figures)
}

function print_verdicts() {
	at_most("livepatch+fentry", 118)
	at_most("livepatch+fexit", 178)
	at_most("livepatch", 2)
	flat("livepatch+fentry", 1)
	flat("livepatch+fexit", 1)
	flat("livepatch", 1)
	at_most("livepatch+held+fentry", 250)
	at_most("livepatch+held+fexit", 320)
	at_most("livepatch+tracer+fentry", 1030)
	flat("livepatch+held+fentry", 2)
	flat("livepatch+held+fexit", 2)
	flat("livepatch+kprobe", 2)
	flat("livepatch+tracer", 2)
	flat("livepatch+tracer+fentry", 2)
	at_most_times("enabling", 1.1, 3)
	at_most_times("enabling+shared", 1.0, 2)
	at_most_times("attaching+fentry", 1.0, 2)
	at_most_times("attaching+fexit", 1.0, 2)
	at_most_times("memory", 1.1, 3)
	beside_stock("fentry", -0.5, 0.5, "exactly as much as on stock")
	beside_stock("fexit", -0.5, 0.5, "exactly as much as on stock")
	beside_stock("tracer", -0.5, 0.5, "exactly as much as on stock")
	beside_stock("kprobe", -1e9, 0.5, "no more than on stock")
	beside_stock("livepatch", -1e9, 2, "at most 2 more than on stock")
	held_beside_stock()
}

# While its redirect is dynamic a livepatch costs what it did.
function held_beside_stock(	c, n, ok, figures) {
	if (!seen("ours", "livepatch+held") || !seen("stock", "livepatch"))
		return
	ok = 1
	for (c = 1; c <= counts[0]; c++) {
		n = cost["ours", "livepatch+held", counts[c]] - cost["stock", "livepatch", counts[c]]
		ok = ok && n <= 2
		figures = figures (c > 1 ? ", " : "") sprintf("%+.1f", n)
	}
	verdict(ok, name("livepatch+held") " costs at most 2 more than livepatch alone on stock",
		figures)
}

END {
	if (!rows[0] && !operations[0]) {
		print "no row was measured"
		exit 3
	}
	if (rows[0])
		print_table()
	print_operations()
	if (problems[0]) {
		print "\nNot valid:\n"
		for (i = 1; i <= problems[0]; i++)
			print "- " problems[i]
		exit 3
	}
	for (k = 1; k <= kernels[0]; k++)
		if (kernels[k] == "ours") {
			print "\nRequired of ours:\n"
			print_verdicts()
		}
	exit missed > 0
}
