package providers
import ("testing";"time";"strings")
func TestZZ(t *testing.T){
 for _, tok := range []string{"[]","{}","a: ","&a ","*a ","!!s ","!","'","\"","|\n","%","#","\n","\t","a\n","- \n","-\n","a:\n","'a': ","\"\\u0000\"","[],","a: [],\n",": ","? \n","---\n","...\n",",","{a},","@","`","\\","\r"," \n","a: |\n  x\n","é",">\n","<<: ","- a\n","a: b\n","!a &b ","\"a\n","- - a\n"} {
  for _, pre := range []string{"", "a: ", "a: [", "- "} {
  s := pre+strings.Repeat(tok, 65000/len(tok))
  st:=time.Now(); _, _ = Decode("a.yaml", []byte(s)); d:=time.Since(st)
  if d>150*time.Millisecond { t.Logf("%q %q %v", pre,tok, d) }
 }}
}
