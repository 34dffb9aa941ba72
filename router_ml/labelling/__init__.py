"""Label a log with few answers, alone or with others.   [extra: train]

    log -> questions -> session (asks, saves, learns) -> answers: labelled rows
            ▲            ▲ page, terminal
            └ near-duplicates in one

`merge` joins the answers of several people; `prelabel` asks an LLM first.
"""
