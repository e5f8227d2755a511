//! Figures from elsewhere set beside ours.

use experiment_spec::{
    scores::{Average, Task},
    table::{Measure, reference_figures, results},
};

use crate::fixture::rows;

const FILE: &str = "dataset,method,settings,task,map,tolerance
emoji,own,r=1;d=2,bi-modal average,0.5,0.01
emoji,own,r=1;d=2,image->text,0.52,0.01
emoji,empty,,image->text,0.5,0.01
emoji,absent,x,image->text,0.5,0.01
";

#[test]
fn figures_are_read_by_label_or_by_method_and_settings() {
    let figures = reference_figures(FILE).unwrap();
    assert_eq!(figures.len(), 4);
    assert_eq!((figures[0].label.as_str(), figures[0].measure), ("own r=1;d=2", Measure::Average(Average::BiModal)));
    let labelled = reference_figures("task,label,map,tolerance,dataset\ntext->all,\"A, B\",0.25,0,uci\n").unwrap();
    assert_eq!((labelled[0].label.as_str(), labelled[0].data_set.as_str()), ("A, B", "uci"));
    assert_eq!((labelled[0].measure, labelled[0].map.to_bits()), (Measure::Task(Task::TextToAll), 0.25_f64.to_bits()));
    let table = [
        ("", "line 1: there is no column `dataset`"),
        ("dataset,task,map,tolerance\n", "line 1: there is neither a column `label` nor `method` and `settings`"),
        ("dataset,label,task,map,tolerance\ne,a,text->text,1,0\n", "line 2: there is no task `text->text`"),
        ("dataset,label,task,map,tolerance\ne,a,text->all,1,0\ne,a,text->all,NaN,0\n", "line 3: `NaN` is no number of"),
        ("dataset,label,task,map,tolerance\ne,a,text->all,1,-1\n", "line 2: `-1` is no number of 0 or more"),
        ("dataset,label,task,map,tolerance\ne,a\n", "line 2: CSV error"),
    ];
    for (text, wanted) in table {
        let said = reference_figures(text).unwrap_err();
        assert!(said.starts_with(wanted), "{said}");
    }
}

#[test]
fn what_is_met_what_is_not_and_what_is_elsewhere_is_counted() {
    let records = rows("emoji", &[("own r=1;d=2", &[0.5, 0.504])]);
    let figures = reference_figures(FILE).unwrap();
    let text = results("toy", &records, &[], Some(("fig_1.csv", &figures)));
    assert!(text.contains("## Differences to `fig\\_1.csv`"), "{text}");
    let counts = "Of 4 figures, 2 are of rows that stand here; 1 of these are met within their tolerance, 1 are not. 2 are of no \
                  row of this submission.";
    assert!(text.contains(counts), "{text}");
    assert!(
        text.contains("| emoji | own r=1;d=2 | bi-modal average | 2 | 0.500000 | 0.502000 | +0.002000 | 0.01 |"),
        "{text}"
    );
    assert!(text.contains("| 2 | 0.520000 | 0.502000 | **beyond** -0.018000 | 0.01 |"), "{text}");
    assert!(!results("toy", &records, &[], None).contains("Differences"));
}
