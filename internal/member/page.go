package member

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// pageData is what the template of the page gets.
type pageData struct {
	*overview       // nil with Form
	Text      words // in the reader's language
	Style     template.CSS
	Form      bool // asks for a key
	Wrong     bool // the key that was sent is not known
}

// wantsPage reports whether a browser asks.
func wantsPage(r *http.Request) bool {
	return r.Method == http.MethodPost || strings.Contains(r.Header.Get("Accept"), "text/html")
}

// SignIn implements edge.MemberView.
func (v *View) SignIn(w http.ResponseWriter, r *http.Request, status int, wrong bool) {
	if p := render(w, r, status, &pageData{Form: true, Wrong: wrong}); p != nil {
		p.write(w, "")
	}
}

func writePage(w http.ResponseWriter, r *http.Request, o *overview) *problem {
	return render(w, r, http.StatusOK, &pageData{overview: o})
}

// render writes the page. Its only style is allowed by its hash, and nothing else is.
func render(w http.ResponseWriter, r *http.Request, status int, data *pageData) *problem {
	data.Text = wordsFor(r.Header.Get("Accept-Language"))
	data.Style = template.CSS(pageStyle) //nolint:gosec // a constant of this package
	page, err := template.New("page").Funcs(template.FuncMap{
		"usd":     func(f float64) string { return fmt.Sprintf("$%.2f", f) },
		"cost":    func(f float64) string { return fmt.Sprintf("$%.4f", f) },
		"percent": func(f float64) string { return fmt.Sprintf("%.0f %%", 100*f) },
		"at":      func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") },
		"seconds": func(f float64) string { return fmt.Sprintf("%.1f s", f) },
		"name":    func(id string) string { return id[:min(len(id), 8)] },
	}).Parse(pageText)
	var out bytes.Buffer
	if err == nil {
		err = page.Execute(&out, data)
	}
	if err != nil {
		return &problem{http.StatusInternalServerError, claude.ErrAPI, "The page cannot be written."}
	}
	sum := sha256.Sum256([]byte(pageStyle))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Vary", "Accept, Accept-Language")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(out.Bytes())
	}
	return nil
}

// words are the texts of the page in one language.
type words struct {
	Lang, Title, Enter, KeyLabel, Show, Wrong, Budgets, Spent, Of, Resets, Never, Limits, InFlight, Waiting, RequestsPerMinute, TokensPerMinute, Left,
	Today, Month, Cached, Requests, Sessions, Latest, Time, Model, Server, Status, Cost, Duration, Last, Session, Connect, ConnectHint, BySettings,
	NoBudget, NoLedger, LedgerAway, AuthOff, Partial, Expires, Privacy string
}

// wordsFor returns the texts for the first language that the reader prefers: English or Chinese.
func wordsFor(accepted string) words {
	for language := range strings.SplitSeq(strings.ToLower(accepted), ",") {
		language = strings.TrimSpace(language)
		switch {
		case strings.HasPrefix(language, "zh"):
			return chinese()
		case strings.HasPrefix(language, "en"):
			return english()
		}
	}
	return english()
}

// Window names the window of a budget.
func (w words) Window(name string) string {
	if w.Lang == "en" {
		return name
	}
	return map[string]string{"day": "每天", "week": "每周", "month": "每月", "total": "总计"}[name]
}

func english() words {
	return words{
		Lang: "en", Title: "Your client key", Enter: "Enter your client key to see its usage. It is sent once, and neither stored nor part of the address.",
		KeyLabel: "Client key", Show: "Show", Wrong: "This key is not known, or too many wrong keys were sent from your address.",
		Budgets: "Budgets", Spent: "spent", Of: "of", Resets: "renewed", Never: "never renewed", Limits: "Limits now", InFlight: "in flight", Waiting: "waiting",
		RequestsPerMinute: "requests per minute", TokensPerMinute: "tokens per minute", Left: "left", Today: "Today", Month: "This month", Cached: "from cache",
		Requests: "requests", Sessions: "Sessions", Latest: "Latest requests", Time: "Time", Model: "Model", Server: "Server", Status: "Status", Cost: "Cost",
		Duration: "Duration", Last: "Last request", Session: "Session", Connect: "How to connect",
		ConnectHint: "Run this command, and paste the key when it waits for input:", BySettings: "Or write this to ~/.claude/settings.json (on Windows %USERPROFILE%\\.claude\\settings.json):",
		NoBudget: "This key has no budget.", NoLedger: "This balancer keeps no ledger, so there is no history.", LedgerAway: "The ledger cannot be read at the moment, so the history is missing.",
		AuthOff: "This balancer requires no client key, so no usage is shown here.", Partial: "+?: a part without a known price is missing", Expires: "expires",
		Privacy: "The balancer keeps no prompts and no responses.",
	}
}

func chinese() words {
	return words{
		Lang: "zh-CN", Title: "您的客户端密钥", Enter: "输入客户端密钥查看用量。密钥只发送一次，不会保存，也不会出现在地址里。",
		KeyLabel: "客户端密钥", Show: "查看", Wrong: "密钥无效，或者您的地址发送了太多错误的密钥。",
		Budgets: "预算", Spent: "已用", Of: "共", Resets: "重置于", Never: "不重置", Limits: "当前限额", InFlight: "进行中", Waiting: "排队",
		RequestsPerMinute: "每分钟请求数", TokensPerMinute: "每分钟 token 数", Left: "剩余", Today: "今天", Month: "本月", Cached: "来自缓存",
		Requests: "请求", Sessions: "会话", Latest: "最近的请求", Time: "时间", Model: "模型", Server: "服务器", Status: "状态", Cost: "费用",
		Duration: "耗时", Last: "最后一次请求", Session: "会话", Connect: "如何连接",
		ConnectHint: "运行下面的命令，等待输入时粘贴密钥：", BySettings: "或者写入 ~/.claude/settings.json（Windows 上是 %USERPROFILE%\\.claude\\settings.json）：",
		NoBudget: "这个密钥没有预算。", NoLedger: "这个均衡器没有账本，因此没有历史记录。", LedgerAway: "暂时读不到账本，因此缺少历史记录。",
		AuthOff: "这个均衡器不需要客户端密钥，因此这里不显示任何人的用量。", Partial: "+?：缺少价格未知的部分", Expires: "到期",
		Privacy: "均衡器不保存提示词和回答。",
	}
}
