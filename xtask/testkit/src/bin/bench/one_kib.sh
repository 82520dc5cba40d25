set -euo pipefail
cd /srv/app/billing-service
git fetch --prune origin && git status --short | head -20
for package in api worker web; do
  echo "== $package"
  npm --workspace "$package" run lint -- --max-warnings 0
  npm --workspace "$package" test -- --reporter=dot 2>&1 | tail -n 15
done
python3 - <<'EOF'
import json, pathlib
report = json.loads(pathlib.Path("coverage/coverage-summary.json").read_text())
total = report["total"]
for key in ("lines", "branches", "functions"):
    print(f"{key:>10}: {total[key]['pct']:6.2f} %")
missing = [name for name, entry in report.items() if name != "total" and entry["lines"]["pct"] < 80]
print(len(missing), "files below 80 %")
for name in sorted(missing)[:10]:
    print("  ", name)
EOF
docker compose -f deploy/compose.yaml up -d --wait postgres redis
curl -fsS http://localhost:8080/healthz | jq -r .status
grep -rn "TODO" --include='*.ts' packages | sort | uniq -c | sort -rn | head -5
echo "checked at $(date +%H:%M)"
du -sh coverage dist build 2>/dev/null | sort -h | tail -3
